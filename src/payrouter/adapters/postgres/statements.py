"""The SQL of the ledger. Each text is one statement, and so one transaction and one snapshot.

Prepared once per connection, with plans that hold for any parameters and any size of the tables
(`connection.py: _PLANS`).
"""

# Payments first and roll-ups after, each in the order of its key: whoever settles the same ones at the same time
# waits for the other, and never both for each other. Roll-ups are summed from what was really inserted, to narrow
# buckets first: few rows are left to widen. Parameters: a list per column, the lane, `ROLLUP_SHIFTS`, and the names
# of processors, for which rows have their place in that list; one that has no number yet ends in a NULL, which the
# table refuses.
SETTLE = """
WITH settled AS (
    INSERT INTO payrouter.ledger (
        id, amount, accepted_us, requested_us, settled_us, latency_us, processor, attempts, reason, failures)
    SELECT id, amount, accepted_us, requested_us, settled_us, latency_us, numbers[place], attempts, reason, failures
      FROM unnest(
            $1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[],
            $8::integer[], $9::text[], $10::text[]
           ) AS given (id, amount, accepted_us, requested_us, settled_us, latency_us, place, attempts, reason, failures)
     CROSS JOIN (
            SELECT array_agg(processor.id ORDER BY place) AS numbers
              FROM unnest($13::text[]) WITH ORDINALITY AS named (name, place)
              LEFT JOIN payrouter.processor ON processor.name = named.name
           ) AS processors
     ORDER BY id
    ON CONFLICT DO NOTHING
    RETURNING id, amount, requested_us, processor
), narrow AS (
    SELECT requested_us >> ($12::smallint[])[1] AS bucket, processor, count(*) AS count, sum(amount)::bigint AS amount
      FROM settled
     GROUP BY 1, 2
), rolled AS (
    INSERT INTO payrouter.rollup AS kept (shift, bucket, processor, lane, count, amount)
    SELECT shift, bucket >> (shift - ($12::smallint[])[1]), processor, $11::smallint,
           sum(count)::bigint, sum(amount)::bigint
      FROM narrow CROSS JOIN unnest($12::smallint[]) AS level (shift)
     GROUP BY 1, 2, 3
     ORDER BY 1, 2, 3
    ON CONFLICT (shift, bucket, processor, lane)
    DO UPDATE SET count = kept.count + excluded.count, amount = kept.amount + excluded.amount
)
SELECT id FROM settled
"""

# Each piece is summed for itself (LATERAL): the planner cannot turn it round and read a whole table per window.
# The ledger before the roll-ups, the order in which `PURGE` locks them. Parameters: first and last of each edge;
# shift, first and last of each range of buckets (`domain.window.cover`).
SUMMARY = """
SELECT name, sum(count)::bigint, sum(amount)::bigint
  FROM (
    SELECT part.*
      FROM unnest($1::bigint[], $2::bigint[]) AS edge (first_us, last_us) CROSS JOIN LATERAL (
        SELECT processor, count(*) AS count, sum(amount)::bigint AS amount
          FROM payrouter.ledger
         WHERE requested_us BETWEEN edge.first_us AND edge.last_us
         GROUP BY processor) AS part
    UNION ALL
    SELECT part.*
      FROM unnest($3::smallint[], $4::bigint[], $5::bigint[]) AS range (shift, first, last) CROSS JOIN LATERAL (
        SELECT processor, sum(count)::bigint, sum(amount)::bigint
          FROM payrouter.rollup
         WHERE rollup.shift = range.shift AND bucket BETWEEN range.first AND range.last
         GROUP BY processor) AS part
  ) AS piece
  JOIN payrouter.processor ON processor.id = piece.processor
 GROUP BY name
"""

FIND = """
SELECT ledger.*, name
  FROM payrouter.ledger JOIN payrouter.processor ON processor.id = ledger.processor
 WHERE ledger.id = $1
"""

KNOWN = "SELECT id, amount FROM payrouter.ledger WHERE id = ANY ($1::uuid[])"

PURGE = "TRUNCATE payrouter.ledger, payrouter.rollup"

# Only names that are missing: each attempt at an insert uses up a number.
NAME = """
INSERT INTO payrouter.processor (name)
SELECT name FROM unnest($1::text[]) AS given (name)
 WHERE NOT EXISTS (SELECT FROM payrouter.processor WHERE processor.name = given.name)
 ORDER BY name
ON CONFLICT DO NOTHING
"""

# -- for the books

SLICE_END = """
SELECT requested_us FROM payrouter.ledger WHERE requested_us BETWEEN $1 AND $2
 ORDER BY requested_us LIMIT 1 OFFSET $3
"""

SETTLED = """
SELECT name, ledger.id, amount, requested_us
  FROM payrouter.ledger JOIN payrouter.processor ON processor.id = ledger.processor
 WHERE requested_us BETWEEN $1 AND $2
"""
