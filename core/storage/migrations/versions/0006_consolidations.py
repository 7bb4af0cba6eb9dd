"""Consolidation: what it made and retired, how much a memory matters, and jobs that are a person's."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WAITING = sa.text("state = 'waiting'")


def upgrade() -> None:
    op.create_table(
        "consolidations",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_consolidations"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_consolidations_user_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_consolidations_user_id", "consolidations", ["user_id"])
    op.create_table(
        "declined",
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("claim_digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "claim_digest", name="pk_declined"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_declined_user_id", ondelete="CASCADE"),
    )
    with op.batch_alter_table("memories") as memories:
        memories.add_column(sa.Column("salience", sa.Float(), server_default=sa.text("0.5"), nullable=False))
        memories.add_column(sa.Column("uses", sa.Integer(), server_default=sa.text("0"), nullable=False))
        memories.add_column(sa.Column("used_at", sa.DateTime(timezone=True)))
        memories.add_column(sa.Column("derivation", sa.String(16)))
        for column in ("made_in", "retired_in"):
            memories.add_column(sa.Column(column, sa.Integer()))
            memories.create_foreign_key(
                f"fk_memories_{column}", "consolidations", [column], ["id"], ondelete="SET NULL"
            )
            memories.create_index(f"ix_memories_{column}", [column])
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("conversation_id", existing_type=sa.String(32), nullable=True)
        jobs.add_column(sa.Column("user_id", sa.String(32)))
        jobs.create_foreign_key("fk_jobs_user_id", "users", ["user_id"], ["id"], ondelete="CASCADE")
        jobs.create_index("ix_jobs_user_id", ["user_id"])
    op.create_index(
        "uq_jobs_waiting_user",
        "jobs",
        ["kind", "user_id"],
        unique=True,
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )


def downgrade() -> None:
    op.execute("DELETE FROM jobs WHERE conversation_id IS NULL")
    op.execute("DELETE FROM memories WHERE derivation IS NOT NULL")
    op.drop_index("uq_jobs_waiting_user", table_name="jobs")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_index("ix_jobs_user_id")
        jobs.drop_constraint("fk_jobs_user_id", type_="foreignkey")
        jobs.drop_column("user_id")
        jobs.alter_column("conversation_id", existing_type=sa.String(32), nullable=False)
    with op.batch_alter_table("memories") as memories:
        for column in ("made_in", "retired_in"):
            memories.drop_index(f"ix_memories_{column}")
            memories.drop_constraint(f"fk_memories_{column}", type_="foreignkey")
            memories.drop_column(column)
        for column in ("derivation", "used_at", "uses", "salience"):
            memories.drop_column(column)
    op.drop_table("declined")
    op.drop_index("ix_consolidations_user_id", table_name="consolidations")
    op.drop_table("consolidations")
