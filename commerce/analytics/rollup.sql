-- The rollup of the sessions :ids as of :now, statement by statement; see rollup.py. `ms` gives whole Unix
-- milliseconds. Names in braces are constants of measures.py.

CREATE OR REPLACE FUNCTION pg_temp.ms(timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS
    'SELECT floor(extract(epoch FROM $1) * 1000)::bigint';

-- Raw rows, each table read once.

CREATE TEMP TABLE rolled ON COMMIT DROP AS
SELECT s.id, s.commune_code, s.started_at, s.ended_at, pg_temp.ms(s.started_at) AS a,
    greatest(pg_temp.ms(coalesce(s.ended_at, CAST(:now AS timestamptz))), pg_temp.ms(s.started_at)) AS b,
    CAST(:now AS timestamptz) AS now
FROM live_session s
WHERE s.id = ANY(:ids) AND s.started_at IS NOT NULL AND NOT s.rehearsal;

-- All visits of these sessions; `l` is the end, by itself or with its gateway, none while it is open.
CREATE TEMP TABLE raw_visit ON COMMIT DROP AS
SELECT v.live_session_id, v.id, v.visitor, v.source, pg_temp.ms(v.joined_at) AS j,
    CASE WHEN coalesce(v.left_at, d.at) IS NOT NULL
        THEN greatest(pg_temp.ms(coalesce(v.left_at, d.at)), pg_temp.ms(v.joined_at)) END AS l
FROM visit v JOIN rolled r ON r.id = v.live_session_id
LEFT JOIN gateway_death d ON d.gateway = v.gateway AND d.live_session_id = v.live_session_id;

CREATE TEMP TABLE beacon ON COMMIT DROP AS
SELECT DISTINCT e.live_session_id, e.visitor, e.kind, e.item_code, pg_temp.ms(e.at) AS t,
    pg_temp.ms(e.at) <= r.b + {ATTRIBUTION_MS} AS counts
FROM page_event e JOIN rolled r ON r.id = e.live_session_id;

-- `adds_from`: where this visit begins to add to its visitor's presence; at or after `l` it adds nothing.
CREATE TEMP TABLE stay ON COMMIT DROP AS
SELECT live_session_id, visitor, source, id, j, l, greatest(j, coalesce(so_far, j)) AS adds_from,
    so_far IS NULL OR j - so_far > {CONTINUES_MS} AS opens
FROM (
    SELECT *, max(l) OVER (PARTITION BY live_session_id, visitor ORDER BY j, l, id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS so_far
    FROM (
        SELECT v.live_session_id, v.visitor, v.source, v.id, greatest(v.j, r.a) AS j,
            least(coalesce(v.l, r.b), r.b) AS l
        FROM raw_visit v JOIN rolled r ON r.id = v.live_session_id
        WHERE v.j <= r.b AND coalesce(v.l, r.b) >= r.a
    ) AS on_air
) AS in_order;

CREATE TEMP TABLE view_of ON COMMIT DROP AS
SELECT live_session_id, visitor, min(j) AS j, max(l) AS l, max(source) FILTER (WHERE opens) AS source,
    sum(greatest(0, l - adds_from))::bigint AS watched
FROM (
    SELECT *, count(*) FILTER (WHERE opens) OVER (PARTITION BY live_session_id, visitor ORDER BY j, l, id)
        AS n
    FROM stay
) AS numbered
GROUP BY live_session_id, visitor, n;

-- Orders that came through a session's page, link or code; and those ordered elsewhere on the market by
-- somebody who was in a session that sold the same thing: the session they were in last.
CREATE TEMP TABLE candidate ON COMMIT DROP AS
SELECT o.id, o.live_session_id, o.live_session_id AS of_session, o.visitor, pg_temp.ms(o.placed_at) AS t
FROM "order" o JOIN rolled r ON r.id = o.live_session_id
UNION ALL
SELECT DISTINCT o.id, s.id, NULL::bigint, o.visitor, pg_temp.ms(o.placed_at)
FROM "order" o
JOIN order_line l ON l.order_id = o.id
JOIN lineup_item i ON i.grade_id = l.grade_id
JOIN live_session s ON s.id = i.live_session_id AND s.started_at <= o.placed_at AND NOT s.rehearsal
    AND coalesce(s.ended_at, o.placed_at) >= o.placed_at - make_interval(secs => {ATTRIBUTION_MS} / 1000.0)
WHERE o.live_session_id IS NULL AND o.visitor <> ''
    AND o.placed_at >= (SELECT min(started_at) FROM rolled)
    AND o.placed_at <= (SELECT max(to_timestamp(b / 1000.0)) FROM rolled)
        + make_interval(secs => {ATTRIBUTION_MS} / 1000.0);

CREATE TEMP TABLE touch ON COMMIT DROP AS
SELECT c.id, c.live_session_id, max(least(coalesce(x.l, c.t), c.t)) AS t
FROM candidate c JOIN (
    SELECT live_session_id, visitor, j, l FROM raw_visit
    UNION ALL SELECT live_session_id, visitor, t, t FROM beacon
    UNION ALL
    SELECT v.live_session_id, v.visitor, pg_temp.ms(v.joined_at),
        CASE WHEN coalesce(v.left_at, d.at) IS NOT NULL
            THEN greatest(pg_temp.ms(coalesce(v.left_at, d.at)), pg_temp.ms(v.joined_at)) END
    FROM visit v
    LEFT JOIN gateway_death d ON d.gateway = v.gateway AND d.live_session_id = v.live_session_id
    WHERE v.live_session_id IN (SELECT live_session_id FROM candidate EXCEPT SELECT id FROM rolled)
    UNION ALL
    SELECT e.live_session_id, e.visitor, pg_temp.ms(e.at), pg_temp.ms(e.at) FROM page_event e
    WHERE e.live_session_id IN (SELECT live_session_id FROM candidate EXCEPT SELECT id FROM rolled)
) AS x ON x.live_session_id = c.live_session_id AND x.visitor = c.visitor AND x.j <= c.t
WHERE c.visitor <> ''
GROUP BY c.id, c.live_session_id;

CREATE TEMP TABLE belongs ON COMMIT DROP AS
SELECT c.id AS order_id, c.live_session_id, CASE
        WHEN o.entered_by IS NOT NULL THEN 'helper' WHEN t.t IS NOT NULL THEN 'visit' ELSE 'code' END AS how
FROM candidate c JOIN "order" o ON o.id = c.id
LEFT JOIN touch t ON t.id = c.id AND t.live_session_id = c.live_session_id
WHERE c.of_session IS NOT NULL
    AND (o.entered_by IS NOT NULL OR t.t IS NULL OR c.t - t.t <= {ATTRIBUTION_MS})
UNION ALL
SELECT id, live_session_id, 'later' FROM (
    SELECT DISTINCT ON (c.id) c.id, c.live_session_id
    FROM candidate c JOIN touch t ON t.id = c.id AND t.live_session_id = c.live_session_id
    WHERE c.of_session IS NULL AND c.t - t.t <= {ATTRIBUTION_MS}
    ORDER BY c.id, t.t DESC, c.live_session_id DESC
) AS last_seen
WHERE live_session_id IN (SELECT id FROM rolled);

-- The source of a sale: of the buyer's last visit that began before it.
CREATE TEMP TABLE came_by ON COMMIT DROP AS
SELECT DISTINCT ON (b.order_id) b.order_id, v.source
FROM belongs b JOIN "order" o ON o.id = b.order_id
JOIN raw_visit v ON v.live_session_id = b.live_session_id AND v.visitor = o.visitor
WHERE o.entered_by IS NULL AND o.visitor <> '' AND v.j <= pg_temp.ms(o.placed_at)
ORDER BY b.order_id, v.j DESC, v.id DESC;

-- Net is nothing for an order that came to nothing, else its total less what went back to the buyer.
CREATE TEMP TABLE sale ON COMMIT DROP AS
SELECT b.order_id, b.live_session_id, b.how, pg_temp.ms(o.placed_at) AS t, o.pin_id, o.buyer_phone, o.total,
    CASE WHEN o.state IN ('cancelled', 'expired', 'refused') THEN 0
        ELSE o.total - coalesce(p.refunded, 0) END AS net,
    coalesce(p.paid >= p.amount, false) AS paid, n.units,
    coalesce(w.source, nullif(o.source, ''), 'direct') AS source
FROM belongs b JOIN "order" o ON o.id = b.order_id
JOIN LATERAL (SELECT sum(quantity)::bigint AS units FROM order_line WHERE order_id = o.id) n ON true
LEFT JOIN LATERAL (
    SELECT sum(refunded)::bigint AS refunded, sum(paid)::bigint AS paid, sum(amount)::bigint AS amount
    FROM payment WHERE order_id = o.id AND state <> 'cancelled'
) p ON true
LEFT JOIN came_by w ON w.order_id = o.id;

CREATE TEMP TABLE swept ON COMMIT DROP AS
WITH edge AS (
    SELECT live_session_id AS s, t, sum(d) AS d FROM (
        SELECT live_session_id, adds_from AS t, 1 AS d FROM stay WHERE l > adds_from
        UNION ALL SELECT live_session_id, l, -1 FROM stay WHERE l > adds_from
        UNION ALL SELECT id, m, 0 FROM rolled,
            generate_series(a / 60000 * 60000, greatest(a, b - 1), 60000) AS m
    ) AS edges GROUP BY live_session_id, t
), present AS (
    SELECT s, t, sum(d) OVER in_time AS n, lead(t) OVER in_time AS until
    FROM edge WINDOW in_time AS (PARTITION BY s ORDER BY t)
)
SELECT s AS live_session_id, t / 60000 AS minute, max(n)::bigint AS peak,
    sum(n * (coalesce(until, t) - t))::bigint AS watched
FROM present GROUP BY s, t / 60000;

-- The rollups.

DELETE FROM session_rollup WHERE live_session_id IN (SELECT id FROM rolled);
DELETE FROM minute_rollup WHERE live_session_id IN (SELECT id FROM rolled);
DELETE FROM item_rollup WHERE live_session_id IN (SELECT id FROM rolled);
DELETE FROM source_rollup WHERE live_session_id IN (SELECT id FROM rolled);
DELETE FROM deal_rollup WHERE live_session_id IN (SELECT id FROM rolled);
DELETE FROM pin_rollup WHERE live_session_id IN (SELECT id FROM rolled);
DELETE FROM attribution WHERE live_session_id IN (SELECT id FROM rolled);

INSERT INTO session_rollup (live_session_id, commune_code, day, started_at, ended_at, air_ms, views,
    effective_views, viewers, reach, watched_ms, pcu, impressions, clicks, baskets, orders, units, gmv, net,
    paid, buyers, by_helper, comments, curve, computed_at)
SELECT r.id, r.commune_code, (r.started_at AT TIME ZONE 'Asia/Ho_Chi_Minh')::date, r.started_at, r.ended_at,
    r.b - r.a, coalesce(v.views, 0), coalesce(v.effective, 0), coalesce(v.viewers, 0), coalesce(h.reach, 0),
    coalesce(v.watched, 0), coalesce(w.peak, 0), coalesce(e.impressions, 0), coalesce(e.clicks, 0),
    coalesce(e.baskets, 0), coalesce(o.orders, 0), coalesce(o.units, 0), coalesce(o.gmv, 0),
    coalesce(o.net, 0), coalesce(o.paid, 0), coalesce(o.buyers, 0), coalesce(o.by_helper, 0),
    coalesce(c.comments, 0), coalesce(v.curve, '[]'::jsonb), r.now
FROM rolled r
LEFT JOIN (
    SELECT live_session_id AS id, count(*) AS views,
        count(*) FILTER (WHERE watched >= {EFFECTIVE_MS}) AS effective,
        count(DISTINCT visitor) AS viewers, sum(watched)::bigint AS watched,
        jsonb_build_array({CURVE}) AS curve
    FROM view_of GROUP BY 1
) v USING (id)
LEFT JOIN (
    SELECT id, count(DISTINCT visitor) AS reach FROM (
        SELECT live_session_id AS id, visitor FROM raw_visit
        UNION SELECT live_session_id, visitor FROM beacon WHERE counts
    ) AS shown GROUP BY 1
) h USING (id)
LEFT JOIN (SELECT live_session_id AS id, max(peak) AS peak FROM swept GROUP BY 1) w USING (id)
LEFT JOIN (
    SELECT live_session_id AS id,
        count(*) FILTER (WHERE kind = 'impression' AND item_code <> '') AS impressions,
        count(*) FILTER (WHERE kind = 'click') AS clicks, count(*) FILTER (WHERE kind = 'basket') AS baskets
    FROM beacon WHERE counts GROUP BY 1
) e USING (id)
LEFT JOIN (
    SELECT live_session_id AS id, count(*) AS orders, sum(units)::bigint AS units, sum(total)::bigint AS gmv,
        sum(net)::bigint AS net, count(*) FILTER (WHERE paid) AS paid, count(DISTINCT buyer_phone) AS buyers,
        count(*) FILTER (WHERE how = 'helper') AS by_helper
    FROM sale GROUP BY 1
) o USING (id)
LEFT JOIN (
    SELECT live_session_id AS id, count(*) AS comments FROM comment
    WHERE source = 'page' AND live_session_id IN (SELECT id FROM rolled) GROUP BY 1
) c USING (id);

-- Beacons, orders and comments outside the air time are in the session's totals, not on its timeline.
INSERT INTO minute_rollup (live_session_id, at, peak, watched_ms, came, "left", impressions, clicks, baskets,
    orders, units, gmv, comments)
SELECT live_session_id, to_timestamp(minute * 60), sum(peak), sum(watched), sum(came), sum(gone),
    sum(impressions), sum(clicks), sum(baskets), sum(orders), sum(units), sum(gmv), sum(comments)
FROM (
    SELECT s.live_session_id, s.minute, s.peak, s.watched, 0 AS came, 0 AS gone, 0 AS impressions,
        0 AS clicks, 0 AS baskets, 0 AS orders, 0 AS units, 0 AS gmv, 0 AS comments
    FROM swept s JOIN rolled r ON r.id = s.live_session_id AND s.minute <= greatest(r.a, r.b - 1) / 60000
    UNION ALL
    SELECT x.live_session_id, least(x.t, greatest(r.a, r.b - 1)) / 60000, 0, 0, came, gone, impressions,
        clicks, baskets, orders, units, gmv, comments
    FROM (
        SELECT live_session_id, j AS t, 1 AS came, 0 AS gone, 0 AS impressions, 0 AS clicks, 0 AS baskets,
            0 AS orders, 0 AS units, 0 AS gmv, 0 AS comments FROM view_of
        UNION ALL SELECT live_session_id, l, 0, 1, 0, 0, 0, 0, 0, 0, 0 FROM view_of
        UNION ALL SELECT live_session_id, t, 0, 0, (kind = 'impression' AND item_code <> '')::int,
            (kind = 'click')::int, (kind = 'basket')::int, 0, 0, 0, 0 FROM beacon
        UNION ALL SELECT live_session_id, t, 0, 0, 0, 0, 0, 1, units, total, 0 FROM sale
        UNION ALL SELECT live_session_id, pg_temp.ms(at), 0, 0, 0, 0, 0, 0, 0, 0, 1 FROM comment
            WHERE source = 'page' AND live_session_id IN (SELECT id FROM rolled)
    ) AS x JOIN rolled r ON r.id = x.live_session_id AND x.t BETWEEN r.a AND r.b
) AS parts GROUP BY live_session_id, minute;

-- What went back to the buyer is spread over the order's lines by their amounts, rounded down.
INSERT INTO item_rollup (live_session_id, item_code, grade_id, impressions, clicks, baskets, orders, units,
    gmv, net)
SELECT live_session_id, item_code, max(grade_id), sum(impressions), sum(clicks), sum(baskets), sum(orders),
    sum(units), sum(gmv), sum(net)
FROM (
    SELECT i.live_session_id, i.code AS item_code, i.grade_id, 0 AS impressions, 0 AS clicks, 0 AS baskets,
        0 AS orders, 0 AS units, 0 AS gmv, 0 AS net
    FROM lineup_item i JOIN rolled r ON r.id = i.live_session_id
    UNION ALL
    SELECT live_session_id, item_code, NULL, (kind = 'impression')::int, (kind = 'click')::int,
        (kind = 'basket')::int, 0, 0, 0, 0
    FROM beacon WHERE counts AND item_code <> ''
    UNION ALL
    SELECT s.live_session_id, l.item_code, l.grade_id, 0, 0, 0, 1, sum(l.quantity), sum(l.amount),
        sum(CASE WHEN s.total > 0 THEN l.amount * s.net / s.total ELSE 0 END)
    FROM sale s JOIN order_line l USING (order_id)
    GROUP BY s.order_id, s.live_session_id, l.item_code, l.grade_id
) AS parts GROUP BY live_session_id, item_code;

INSERT INTO source_rollup (live_session_id, source, views, viewers, watched_ms, orders, gmv)
SELECT live_session_id, source, sum(views), sum(viewers), sum(watched), sum(orders), sum(gmv)
FROM (
    SELECT live_session_id, source, count(*) AS views, count(DISTINCT visitor) AS viewers,
        sum(watched) AS watched, 0 AS orders, 0 AS gmv
    FROM view_of GROUP BY 1, 2
    UNION ALL
    SELECT live_session_id, CASE WHEN how = 'helper' THEN 'helper' ELSE source END, 0, 0, 0, count(*),
        sum(total)
    FROM sale GROUP BY 1, 2
) AS parts GROUP BY live_session_id, source;

INSERT INTO pin_rollup (pin_id, live_session_id, orders, units, gmv)
SELECT p.id, p.live_session_id, count(DISTINCT l.order_id), coalesce(sum(l.quantity), 0),
    coalesce(sum(l.amount), 0)
FROM pin p JOIN rolled r ON r.id = p.live_session_id JOIN lineup_item i ON i.id = p.item_id
LEFT JOIN sale s ON s.pin_id = p.id
LEFT JOIN order_line l ON l.order_id = s.order_id AND l.grade_id = i.grade_id
GROUP BY p.id;

INSERT INTO deal_rollup (deal_id, live_session_id, orders, units, gmv)
SELECT d.id, d.live_session_id, count(DISTINCT l.order_id), coalesce(sum(l.quantity), 0),
    coalesce(sum(l.amount), 0)
FROM deal d JOIN rolled r ON r.id = d.live_session_id
LEFT JOIN (
    SELECT o.order_id, o.deal_id, o.quantity, o.amount
    FROM sale s JOIN order_line o ON o.order_id = s.order_id WHERE o.deal_id IS NOT NULL
) l ON l.deal_id = d.id
GROUP BY d.id;

INSERT INTO attribution (order_id, live_session_id, source, how)
SELECT order_id, live_session_id, CASE WHEN how = 'helper' THEN 'helper' ELSE source END, how FROM sale
ON CONFLICT (order_id) DO UPDATE SET live_session_id = excluded.live_session_id, source = excluded.source,
    how = excluded.how;
