-- Every move of the books of some sellers, dated and signed, in whole dong.
--   sold        an order was placed, or came back to life with late money
--   cancelled   it was cancelled, expired or refused: what was left of its value
--   refunded    goods' money went back (or, with the other sign, the card company could not give it back)
--   paid, back  money that counted as payment came, or went back; whatever became of the order
-- A refund after an order was closed is no second loss of sales: its value is gone already. So at any moment
-- sold + cancelled + refunded of an order is what it is worth now: its total less refunds, or nothing.
WITH mine AS (
    SELECT o.id, o.code, o.seller_id, o.total, o.state, o.placed_at, o.payment_method
    FROM "order" o
    WHERE (CAST(:sellers AS bigint[]) IS NULL OR o.seller_id = ANY(:sellers)) AND o.placed_at < :last
), turns AS (
    SELECT h.subject_id AS order_id, h.at, h.id AS step,
        h.after IN ('cancelled', 'expired', 'refused') AS closes,
        h.before = 'expired' AND h.after = 'placed' AS revives
    FROM order_history h JOIN mine m ON m.id = h.subject_id
    WHERE h.after IN ('cancelled', 'expired', 'refused') OR (h.before = 'expired' AND h.after = 'placed')
    UNION ALL  -- rows that came without a history (made-up years) were closed when they were placed
    SELECT m.id, m.placed_at, 0, true, false FROM mine m
    WHERE m.state IN ('cancelled', 'expired', 'refused')
        AND NOT EXISTS (SELECT 1 FROM order_history h WHERE h.subject_id = m.id AND h.after = m.state)
), given_back AS (
    SELECT r.order_id, h.at, CASE WHEN h.after = 'done' THEN r.amount ELSE -r.amount END AS amount,
        coalesce((SELECT t.closes FROM turns t WHERE t.order_id = r.order_id AND t.at < h.at
            ORDER BY t.at DESC, t.step DESC LIMIT 1), false) AS closed
    FROM refund r JOIN mine m ON m.id = r.order_id JOIN refund_history h ON h.subject_id = r.id
    WHERE NOT r.of_excess AND (h.after = 'done' OR h.before = 'done')
), moves AS (
    SELECT id AS order_id, placed_at AS at, 'sold' AS kind, total AS amount FROM mine
    UNION ALL
    SELECT t.order_id, t.at, 'sold', m.total FROM turns t JOIN mine m ON m.id = t.order_id WHERE t.revives
    UNION ALL
    SELECT t.order_id, t.at, 'cancelled', coalesce((SELECT sum(g.amount) FROM given_back g
        WHERE g.order_id = t.order_id AND g.at <= t.at AND NOT g.closed), 0)::bigint - m.total
    FROM turns t JOIN mine m ON m.id = t.order_id WHERE t.closes
    UNION ALL
    SELECT order_id, at, 'refunded', -amount FROM given_back WHERE NOT closed
    UNION ALL
    SELECT order_id, at, 'back', -amount FROM given_back
    UNION ALL
    SELECT p.order_id, r.at, 'paid ' || CASE r.source WHEN 'carrier' THEN 'cash' WHEN 'stripe' THEN 'card'
        WHEN 'hand' THEN 'hand' ELSE 'transfer' END, r.counted
    FROM receipt r JOIN payment p ON p.id = r.payment_id JOIN mine m ON m.id = p.order_id
    WHERE r.counted > 0
    UNION ALL
    SELECT e.order_id, e.at, 'tax ' || e.tax, e.amount FROM tax_entry e JOIN mine m ON m.id = e.order_id
)
SELECT m.seller_id, v.order_id, m.code, m.payment_method, v.at, v.kind, v.amount
FROM moves v JOIN mine m ON m.id = v.order_id
WHERE v.at >= :first AND v.at < :last
ORDER BY m.seller_id, v.at, v.order_id, v.kind
