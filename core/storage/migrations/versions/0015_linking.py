"""Linking one person's accounts: codes, and what is told of it."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "link_codes",
        sa.Column("code_digest", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_link_codes_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("code_digest", name="pk_link_codes"),
    )
    op.create_index("ix_link_codes_user_id", "link_codes", ["user_id"])
    op.create_table(
        "link_news",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("user_id", sa.String(32), nullable=False),
        sa.Column("told_on", sa.String(32), nullable=False),
        sa.Column("deed", sa.String(16), nullable=False),
        sa.Column("channel", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_link_news_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_link_news"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_link_news_user_id", "link_news", ["user_id"])


def downgrade() -> None:
    op.drop_table("link_news")
    op.drop_table("link_codes")
