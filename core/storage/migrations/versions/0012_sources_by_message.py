"""Which memories rest on a message: asked with every recall, and whenever a message goes."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_sources_message_id"), "sources", ["message_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_sources_message_id"), "sources")
