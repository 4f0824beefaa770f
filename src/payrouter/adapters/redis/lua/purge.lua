-- Forget every payment. Dispatchers stay registered.
-- KEYS: queue, payments, again, dead, orphans, failures, meta, known, known-before, poison, and all else that is to go
-- ARGV: group
for i = 1, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
-- The ledger is emptied next; until then it knows payments that are not known here.
redis.call('HSET', KEYS[7], 'born', '1', 'forgot', '?')
return 1
