-- Small numbers for processor names. Names ever used stay.
CREATE TABLE payrouter.processor (
    id   integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name text    NOT NULL UNIQUE
);

-- One row per settled payment, written once and never changed. The unique id makes settling idempotent.
-- No foreign key to processor: its check would lock that one row for every payment settled.
CREATE TABLE payrouter.ledger (
    id           uuid    PRIMARY KEY,
    amount       bigint  NOT NULL,
    accepted_us  bigint  NOT NULL,
    requested_us bigint  NOT NULL,
    settled_us   bigint  NOT NULL,
    latency_us   bigint  NOT NULL,
    processor    integer NOT NULL,
    attempts     integer NOT NULL,
    reason       text    NOT NULL,
    failures     text
) WITH (
    -- Rows are only ever inserted. Without these two, vacuum would come once the table has grown by a fifth, and
    -- until then the raw edges of a summary could not be answered from the index alone.
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 50000,
    -- Frozen by the first vacuum that sees them, so that none ever has to rewrite years of ledger at once.
    autovacuum_freeze_min_age = 0
);

-- The raw edges of a summary window, answered from the index alone.
CREATE INDEX ledger_requested ON payrouter.ledger (requested_us) INCLUDE (processor, amount);

-- Totals per bucket of 2^shift microseconds, written in the settling transaction (domain/window.py). A lane per
-- dispatcher, so that they do not queue for the same row; a summary adds the lanes up.
CREATE TABLE payrouter.rollup (
    bucket    bigint   NOT NULL,
    count     bigint   NOT NULL,
    amount    bigint   NOT NULL,
    processor integer  NOT NULL,
    shift     smallint NOT NULL,
    lane      smallint NOT NULL,
    PRIMARY KEY (shift, bucket, processor, lane)
) WITH (
    -- The newest rows change many times a second. With room on their page the old versions are reused without
    -- touching the index (HOT).
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000
);
