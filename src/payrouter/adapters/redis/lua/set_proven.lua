-- Make dead letters of waiting payments that a processor has charged, each only from the record it is known to have.
-- The attempt stands in them, so that it can be settled; nobody sends them, and who holds one cannot begin it any more.
-- KEYS: queue, payments, again, dead, failures, meta, notices
-- ARGV: group, 0 or after how many us they are told as dead letters unless they are settled by then (settled.lua), then
-- per payment: id, record before, record after, failure as JSON
-- Returns one digit per payment, 1 where that is its record now (also when it was before: a call may be repeated).
local queue, payments, again, dead, failures, meta = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local told_at = ARGV[2] ~= '0' and whole(now_us() + tonumber(ARGV[2]))
local answers = {}
for i = 3, #ARGV, 4 do
  local id, before, after, failure = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local record = redis.call('HGET', payments, id)
  if record == before then
    local entry = entry_of(record)
    local kept = redis.call('HGET', failures, id)
    redis.call('HSET', payments, id, after)
    redis.call('HSET', failures, id, kept and (kept .. '\n' .. failure) or failure)
    redis.call('ZREM', again, member(entry, id))
    redis.call('XACK', queue, ARGV[1], entry)
    redis.call('ZADD', dead, 0, member(entry, id))
    redis.call('HINCRBY', meta, 'waiting', -1)
    if told_at then
      -- What is still to be told of an earlier time is told.
      redis.call('ZADD', KEYS[7], 'NX', told_at, '4' .. id)
    end
  end
  answers[#answers + 1] = (record == before or record == after) and '1' or '0'
end
return table.concat(answers)
