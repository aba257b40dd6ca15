"""Records name the root agent of their authority, so that a swarm can be found.

Older records name none, and keep their text and their hashes: they belong to no swarm.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

LINKS = sa.text("kind = 'delegation'")


def upgrade() -> None:
    op.add_column("records", sa.Column("root", sa.String(64)))
    op.create_index("ix_records_tenant_root_seq", "records", ["tenant", "root", "seq"])
    for name, columns in (
        ("cid", ["tenant", "cid"]),
        ("root", ["tenant", "root", "seq"]),
        ("seq", ["tenant", "seq"]),
    ):
        op.create_index(
            f"ix_records_links_{name}",
            "records",
            columns,
            unique=name == "cid",
            sqlite_where=LINKS,
            postgresql_where=LINKS,
        )
