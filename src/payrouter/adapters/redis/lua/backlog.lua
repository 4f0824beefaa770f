-- How many wait, and the record of the next claimable one; "" for an entry that is no payment.
-- KEYS: queue, payments, again, meta       ARGV: group
-- Returns waiting and the record, or waiting alone when nothing can be claimed.
local queue, payments, again, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local waiting = tonumber(redis.call('HGET', meta, 'waiting') or '0')
-- What was delivered before is older than anything that was not.
local first = redis.call('ZRANGE', again, 0, 0)[1]
if first then
  return { waiting, redis.call('HGET', payments, id_in(first)) or '' }
end
if redis.call('EXISTS', queue) == 0 then
  return { waiting }
end
local last = '0-0'
for _, group in ipairs(redis.call('XINFO', 'GROUPS', queue)) do
  if group[2] == ARGV[1] then
    for i = 1, #group, 2 do
      if group[i] == 'last-delivered-id' then
        last = group[i + 1]
      end
    end
  end
end
local entry = redis.call('XRANGE', queue, '(' .. last, '+', 'COUNT', 1)[1]
if not entry then
  return { waiting }
end
return { waiting, entry[2][1] == 'p' and redis.call('HGET', payments, entry[2][2]) or '' }
