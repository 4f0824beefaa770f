-- Say whether payments were settled that are not known here, while that has not been said.
-- KEYS: meta      ARGV: 1 when there were, else 0
if redis.call('HGET', KEYS[1], 'forgot') == '?' then
  redis.call('HSET', KEYS[1], 'forgot', ARGV[1])
end
return 1
