-- Write intents, each only where its payment still is as it was claimed, and with this instance: one that was given back
-- by a late call of ours is somebody else's next.
-- KEYS: dispatchers, payments, meta, queue
-- ARGV: instance, group, then per intent the payment's id, its record as claimed, and its record with the intent
-- Returns one digit per intent, 1 where it stands (also when it did before: a call may be repeated); nil when fenced.
local dispatchers, payments, meta = KEYS[1], KEYS[2], KEYS[3]
if not registered(dispatchers, ARGV[1]) then
  return nil
end
local ids = {}
for i = 3, #ARGV, 3 do
  ids[#ids + 1] = ARGV[i]
end
local records = redis.call('HMGET', payments, unpack(ids))
local answers, rows = {}, {}
for n, id in ipairs(ids) do
  local before, after = ARGV[3 * n + 1], ARGV[3 * n + 2]
  if records[n] == before and holds(KEYS[4], ARGV[2], ARGV[1], entry_of(before)) then
    rows[#rows + 1] = id
    rows[#rows + 1] = after
    answers[n] = '1'
  else
    answers[n] = records[n] == after and '1' or '0'
  end
end
if #rows > 0 then
  redis.call('HSET', payments, unpack(rows))
  redis.call('HINCRBY', meta, 'waiting', -#rows / 2)
end
return table.concat(answers)
