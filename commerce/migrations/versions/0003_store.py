"""The data store's star schema: views that a BI tool reads, without a single person in them

Facts hang on dimensions by `commune_code`, `day`, `session_code` and `product_code`. Views read with their
owner's rights, so a reader needs no right on any table:

    CREATE ROLE bi LOGIN PASSWORD '…';
    GRANT USAGE ON SCHEMA store TO bi;
    GRANT SELECT ON ALL TABLES IN SCHEMA store TO bi;

Revision: 0003, after 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COUNTED = "s.ended_at IS NOT NULL AND NOT s.rehearsal AND s.state <> 'taken_down'"

VIEWS = {
    "dim_commune": """
        SELECT c.code AS commune_code, c.name, c.short_name, c.kind, c.slug, c.former_province, c.area_km2,
            c.lat, c.lon, n.people AS residents, n.as_of AS residents_as_of
        FROM commune c LEFT JOIN residents n ON n.commune_code = c.code
    """,
    "dim_day": """
        SELECT d::date AS day, extract(isoyear FROM d)::int AS iso_year, extract(week FROM d)::int AS week,
            extract(year FROM d)::int AS year, extract(quarter FROM d)::int AS quarter,
            extract(month FROM d)::int AS month, extract(isodow FROM d)::int AS weekday,
            extract(isodow FROM d) >= 6 AS weekend
        FROM generate_series((SELECT min(day) FROM session_rollup), (SELECT max(day) FROM session_rollup),
            interval '1 day') AS d
    """,
    "dim_session": """
        SELECT s.code AS session_code, s.title, s.commune_code, r.day, s.started_at, s.ended_at,
            r.air_ms / 1000 AS seconds, s.demo
        FROM live_session s JOIN session_rollup r ON r.live_session_id = s.id WHERE COUNTED
    """,
    "dim_product": """
        SELECT p.code AS product_code, p.name, p.industry, p.unit, p.commune_code, x.kind AS seller_kind,
            y.stars, p.demo
        FROM product p JOIN seller x ON x.id = p.seller_id
        LEFT JOIN LATERAL (
            SELECT stars FROM recognition WHERE product_id = p.id AND granted_on <= current_date
                AND expires_on >= current_date AND (withdrawn_on IS NULL OR withdrawn_on > current_date)
            ORDER BY granted_on DESC, id DESC LIMIT 1
        ) y ON true
        WHERE p.state IN ('approved', 'paused')
    """,
    "fact_session": """
        SELECT s.code AS session_code, r.day, r.commune_code, r.reach, r.views, r.effective_views,
            r.viewers AS unique_viewers, r.watched_ms, r.air_ms, r.pcu, r.impressions, r.clicks, r.baskets,
            r.orders, r.units, r.gmv, r.net AS net_sales, r.paid, r.buyers, r.by_helper, r.comments,
            r.computed_at
        FROM session_rollup r JOIN live_session s ON s.id = r.live_session_id WHERE COUNTED
    """,
    "fact_minute": """
        SELECT s.code AS session_code, r.day, r.commune_code, m.at, m.peak, m.watched_ms, m.came, m."left",
            m.impressions, m.clicks, m.baskets, m.orders, m.units, m.gmv, m.comments
        FROM minute_rollup m JOIN session_rollup r USING (live_session_id)
        JOIN live_session s ON s.id = m.live_session_id WHERE COUNTED
    """,
    "fact_item": """
        SELECT s.code AS session_code, r.day, r.commune_code, i.item_code, p.code AS product_code,
            g.name AS grade, i.impressions, i.clicks, i.baskets, i.orders, i.units, i.gmv, i.net AS net_sales
        FROM item_rollup i JOIN session_rollup r USING (live_session_id)
        JOIN live_session s ON s.id = i.live_session_id
        LEFT JOIN grade g ON g.id = i.grade_id LEFT JOIN product p ON p.id = g.product_id WHERE COUNTED
    """,
    "fact_source": """
        SELECT s.code AS session_code, r.day, r.commune_code, o.source, o.views, o.viewers, o.watched_ms,
            o.orders, o.gmv
        FROM source_rollup o JOIN session_rollup r USING (live_session_id)
        JOIN live_session s ON s.id = o.live_session_id WHERE COUNTED
    """,
    "fact_outside": """
        SELECT DISTINCT ON (o.live_session_id, o.network) s.code AS session_code, r.day, r.commune_code,
            o.network, o.reach, o.views, o.at AS reported_at, o.by IS NULL AS read_from_api
        FROM outside_reach o JOIN session_rollup r USING (live_session_id)
        JOIN live_session s ON s.id = o.live_session_id WHERE COUNTED AND o.withdrawn_at IS NULL
        ORDER BY o.live_session_id, o.network, o.by IS NULL, o.at DESC, o.id DESC
    """,
}


def upgrade() -> None:
    op.execute("CREATE SCHEMA store")
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW store.{name} AS {query.replace('COUNTED', COUNTED)}")


def downgrade() -> None:
    op.execute("DROP SCHEMA store CASCADE")
