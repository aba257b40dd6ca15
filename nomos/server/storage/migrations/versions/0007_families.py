"""The app on whose behalf a nonce was used; unknown for nonces that were used before."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("nonces", sa.Column("family", sa.String(256)))
    op.create_index("ix_nonces_family_expires_at", "nonces", ["family", "expires_at"])
