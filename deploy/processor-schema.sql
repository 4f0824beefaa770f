-- What the challenge's processors expect to find in their database. Not durable: they are somebody else's, and only
-- as good as a test needs.
CREATE UNLOGGED TABLE payments (
    correlationid uuid PRIMARY KEY,
    amount numeric NOT NULL,
    requested_at timestamp NOT NULL
);
CREATE INDEX payments_requested_at ON payments (requested_at);
