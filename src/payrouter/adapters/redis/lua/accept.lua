-- Take payments that are not known yet: dedupe, count, enqueue, in one step.
-- A full Redis refuses this at the first XADD, before anything is written; what is known is still answered.
-- KEYS: payments, queue, meta, known, known-before, traces
-- ARGV: limit, then per payment its 16-byte id and "amount;accepted_us", followed by ";traceparent" if it has one
-- Returns one digit per payment: 0 accepted, 1 known with this amount, 2 known with another, 3 the queue is full.
local payments, queue, meta, known, known_before = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local waiting = tonumber(redis.call('HGET', meta, 'waiting') or '0')
local limit = tonumber(ARGV[1])

-- Calls cost more than anything else here: one for all payments wherever there can be one.
local ids = {}
for i = 2, #ARGV, 2 do
  ids[#ids + 1] = ARGV[i]
end
local records = redis.call('HMGET', payments, unpack(ids))
local newer = redis.call('HMGET', known, unpack(ids))
local older = redis.call('EXISTS', known_before) == 1 and redis.call('HMGET', known_before, unpack(ids)) or {}

local answers, taken, rows, traced = {}, {}, {}, {}
for n, id in ipairs(ids) do
  local facts, trace = ARGV[2 * n + 1], nil
  -- A traceparent has 55 characters, amount and instant have fewer together.
  if #facts > 55 then
    facts, trace = string.sub(facts, 1, -57), string.sub(facts, -55)
  end
  local amount = string.match(facts, '^%d+')
  -- A payment whose record was spoilt may have been charged: it is known, with an amount that nobody can send.
  local record = records[n] and (string.match(records[n], '^%a;(%d+);') or '')
  local before = taken[id] or record or newer[n] or older[n]
  if before then
    answers[n] = before == amount and '1' or '2'
  elseif waiting + #rows / 2 >= limit then
    answers[n] = '3'
  else
    taken[id] = amount
    rows[#rows + 1] = id
    rows[#rows + 1] = 'Q;' .. facts .. ';' .. redis.call('XADD', queue, '*', 'p', id) .. ';0'
    if trace then
      traced[#traced + 1] = id
      traced[#traced + 1] = trace
    end
    answers[n] = '0'
  end
end
if #traced > 0 then
  redis.call('HSET', KEYS[6], unpack(traced))
end
if #rows > 0 then
  redis.call('HSET', payments, unpack(rows))
  redis.call('HINCRBY', meta, 'waiting', #rows / 2)
end
return table.concat(answers)
