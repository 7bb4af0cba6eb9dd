"""Claims that change keep their history; sources say how surely; messages know their writer's time zone."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

HELD = sa.text("retired_at IS NULL")


def upgrade() -> None:
    op.add_column(
        "messages", sa.Column("utc_offset", sa.Integer(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column(
        "sources", sa.Column("certainty", sa.Float(), server_default=sa.text("0.9"), nullable=False)
    )
    op.execute("UPDATE memories SET valid_from = recorded_at WHERE valid_from IS NULL")
    with op.batch_alter_table("memories") as memories:
        memories.add_column(sa.Column("subject_sealed", sa.LargeBinary()))
        memories.add_column(sa.Column("replaced_by", sa.String(32)))
        memories.create_foreign_key(
            "fk_memories_replaced_by", "memories", ["replaced_by"], ["id"], ondelete="SET NULL"
        )
        memories.create_index("ix_memories_replaced_by", ["replaced_by"])
        memories.alter_column("valid_from", nullable=False)
        memories.drop_constraint("uq_memories_user_id_audience_claim_digest", type_="unique")
        memories.drop_column("confidence")
    op.create_index(
        "uq_memories_held",
        "memories",
        ["user_id", "audience", "claim_digest"],
        unique=True,
        sqlite_where=HELD,
        postgresql_where=HELD,
    )


def downgrade() -> None:
    op.execute("DELETE FROM memories WHERE retired_at IS NOT NULL")
    op.drop_index("uq_memories_held", table_name="memories")
    with op.batch_alter_table("memories") as memories:
        memories.add_column(
            sa.Column("confidence", sa.Float(), server_default=sa.text("0.9"), nullable=False)
        )
        memories.create_unique_constraint(
            "uq_memories_user_id_audience_claim_digest", ["user_id", "audience", "claim_digest"]
        )
        memories.alter_column("valid_from", nullable=True)
        memories.drop_index("ix_memories_replaced_by")
        memories.drop_constraint("fk_memories_replaced_by", type_="foreignkey")
        memories.drop_column("replaced_by")
        memories.drop_column("subject_sealed")
    op.drop_column("sources", "certainty")
    op.drop_column("messages", "utc_offset")
