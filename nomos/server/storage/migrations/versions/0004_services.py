"""Services have a flag for deciding by policy, and grants for those that do not are stored.

A service that was registered before counts as one that does not: its grants are closed.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column(
        "services", sa.Column("decides", sa.Boolean, nullable=False, server_default=sa.false())
    )
    op.create_table(
        "service_grants",
        sa.Column("tenant", sa.String(64), primary_key=True),
        sa.Column("cid", sa.String(64), primary_key=True),
        sa.Column("app", sa.String(64), nullable=False),
        sa.Column("agent", sa.String(64), nullable=False),
        sa.Column("audience", sa.String(64), nullable=False),
        sa.Column("receipt", sa.String(68), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
        sa.Column("text", sa.Text, nullable=False),
    )
