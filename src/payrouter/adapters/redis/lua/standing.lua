-- KEYS: payments, failures       ARGV: ids
-- Returns record and kept failures of each payment, "" for what is not there.
local reply = {}
for _, id in ipairs(ARGV) do
  reply[#reply + 1] = redis.call('HGET', KEYS[1], id) or ''
  reply[#reply + 1] = redis.call('HGET', KEYS[2], id) or ''
end
return reply
