-- One row per payment, from accept to settle: the unique id is the dedupe, processor and requested_us are the
-- intent while state is 1 or 2, and the ledger row when it is 3 (states: domain/payment.py).
CREATE TABLE payment (
    seq          INTEGER PRIMARY KEY,
    id           BLOB    NOT NULL UNIQUE,
    amount       INTEGER NOT NULL,
    accepted_us  INTEGER NOT NULL,
    state        INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    processor    INTEGER REFERENCES processor (id),
    requested_us INTEGER,
    settled_us   INTEGER,
    latency_us   INTEGER,
    reason       TEXT,
    failures     TEXT,
    trace        TEXT
);

-- The queue (state 0), standing intents (1, 2) and dead letters (4), in order of acceptance.
CREATE INDEX payment_unsettled ON payment (state) WHERE state <> 3;

-- The raw edges of a summary window, answered from the index alone.
CREATE INDEX payment_settled ON payment (requested_us, processor, amount) WHERE state = 3;

CREATE TABLE processor (
    id   INTEGER PRIMARY KEY,
    name TEXT    NOT NULL UNIQUE
);

-- Totals per bucket of 2^shift microseconds, written in the settling transaction (domain/window.py).
CREATE TABLE rollup (
    shift     INTEGER NOT NULL,
    bucket    INTEGER NOT NULL,
    processor INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    amount    INTEGER NOT NULL,
    PRIMARY KEY (shift, bucket, processor)
) WITHOUT ROWID;

CREATE TABLE health_call (
    processor TEXT    PRIMARY KEY,
    at_us     INTEGER NOT NULL
) WITHOUT ROWID;

-- Processors that an operator has paused: no payment goes there first, repeats of unknown outcome do.
CREATE TABLE pause (
    processor TEXT    PRIMARY KEY,
    at_us     INTEGER NOT NULL
) WITHOUT ROWID;

-- Webhooks still to be delivered, written in the transaction of what they tell of (event: 3 settled, 4 dead letter; at_us: when).
CREATE TABLE notice (
    id     BLOB    NOT NULL,
    event  INTEGER NOT NULL,
    at_us  INTEGER NOT NULL,
    due_us INTEGER NOT NULL,
    tries  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (id, event)
) WITHOUT ROWID;

CREATE INDEX notice_due ON notice (due_us);
