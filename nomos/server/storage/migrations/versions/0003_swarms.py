"""Records say at whose authority they began, so that a family of agents can be found.

Older records name no ancestor, and keep their text and their hashes: they belong to no swarm.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("records", sa.Column("root", sa.String(64)))
    op.create_index("ix_records_tenant_root_seq", "records", ["tenant", "root", "seq"])


def downgrade() -> None:
    raise NotImplementedError(
        "records made since name their root, and the audit log holds them; restore a backup"
    )
