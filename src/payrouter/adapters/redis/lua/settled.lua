-- Let go of payments that are in the ledger, whoever holds them, and remember them for a while.
-- KEYS: queue, payments, again, dead, orphans, failures, meta, known, known-before, traces, notices, notices-since,
-- notices-tries
-- ARGV: group, how many to remember, 1 when notices are to be written, then the ids
-- Returns how many were let go.
local queue, payments, again, dead, orphans, failures, meta, known, known_before =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local notices, since, tries, notes = KEYS[11], KEYS[12], KEYS[13], ARGV[3] == '1'
local group, remembered = ARGV[1], tonumber(ARGV[2])
local ids, entries, amounts, told, waited = {}, {}, {}, {}, 0
local now = notes and now_us()
local any_orphans = redis.call('EXISTS', orphans) == 1

-- It was to be told as a dead letter only if it stayed one (set_proven.lua).
local function is_no_dead_letter(id)
  local due = redis.call('ZSCORE', notices, '4' .. id)
  if due and tonumber(due) > now and not redis.call('ZSCORE', since, '4' .. id) then
    redis.call('ZREM', notices, '4' .. id)
  end
end

local function leave(id, record)
  if notes then
    told[#told + 1] = id
  end
  local state, amount, entry = string.match(record, '^(%a);(%d+);%d+;(%d+%-%d+);')
  if not state then
    -- Spoilt, and it stays: it does not say where its payment is, and nobody charges the payment again.
    return
  end
  ids[#ids + 1] = id
  entries[#entries + 1] = entry
  amounts[#amounts + 1] = id
  amounts[#amounts + 1] = amount
  if state == 'Q' then
    waited = waited + 1
  elseif state == 'D' and notes then
    is_no_dead_letter(id)
  end
  -- An attempt under way is held by somebody and in no set, unless its holder died.
  if state ~= 'A' or any_orphans then
    local place = member(entry, id)
    redis.call('ZREM', again, place)
    redis.call('ZREM', dead, place)
    redis.call('ZREM', orphans, place)
  end
end

for first = 4, #ARGV, 500 do
  local last = math.min(first + 499, #ARGV)
  local records = redis.call('HMGET', payments, unpack(ARGV, first, last))
  for i = first, last do
    if records[i - first + 1] then
      leave(ARGV[i], records[i - first + 1])
    end
  end
end
if notes then
  note(notices, since, tries, '3', told, now)
end
if #ids == 0 then
  return 0
end
in_chunks(ids, 500, function(...)
  redis.call('HDEL', payments, ...)
  redis.call('HDEL', failures, ...)
end)
if redis.call('EXISTS', KEYS[10]) == 1 then
  in_chunks(ids, 500, function(...)
    redis.call('HDEL', KEYS[10], ...)
  end)
end
in_chunks(entries, 500, function(...)
  redis.call('XACK', queue, group, ...)
  redis.call('XDEL', queue, ...)
end)
in_chunks(amounts, 1000, function(...)
  redis.call('HSET', known, ...)
end)
if waited > 0 then
  redis.call('HINCRBY', meta, 'waiting', -waited)
end
-- Two generations: memory stays bounded, and at least half of what is to be remembered always is.
if redis.call('HLEN', known) * 2 >= remembered then
  if redis.call('UNLINK', known_before) == 1 then
    redis.call('HSET', meta, 'forgot', '1')
  end
  redis.call('RENAME', known, known_before)
end
return #ids
