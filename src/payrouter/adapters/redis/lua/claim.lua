-- Deliver waiting payments to an instance, oldest first.
-- KEYS: dispatchers, queue, payments, again, meta, poison, traces       ARGV: instance, group, limit
-- Returns nil when the instance is fenced; else 0 when every settled payment is known here, traces of the delivered, then
-- id and record of each.
local dispatchers, queue, payments, again, meta, poison = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local instance, group, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not registered(dispatchers, instance) then
  return nil
end
local reply = { redis.call('HGET', meta, 'forgot') or '0', {} }
local consumer = consumer_of(instance)

local function set_waiting_aside(entry, id, record)
  set_aside(queue, group, poison, meta, entry, id, record)
  redis.call('HINCRBY', meta, 'waiting', -1)
end

-- What was delivered before and came back is older than anything that was not.
local back = redis.call('ZRANGE', again, 0, limit - 1)
if #back > 0 then
  redis.call('ZREMRANGEBYRANK', again, 0, #back - 1)
  local entries = {}
  for _, text in ipairs(back) do
    local id, entry = id_in(text), entry_in(text)
    local record = redis.call('HGET', payments, id)
    if record and entry_of(record) == entry then
      entries[#entries + 1] = entry
      reply[#reply + 1] = id
      reply[#reply + 1] = record
    elseif record then
      set_waiting_aside(entry, id, record)
    end
  end
  in_chunks(entries, 500, function(...)
    local call = { 'XCLAIM', queue, group, consumer, '0', ... }
    call[#call + 1] = 'FORCE'
    call[#call + 1] = 'JUSTID'
    redis.call(unpack(call))
  end)
end

-- Whether a record belongs to an entry, though it says something else: then it was spoilt. Else there is another entry
-- that it is of, and this one was added by somebody else.
local function is_spoilt(id, record)
  local place = entry_of(record)
  -- An error says that there cannot be such a place.
  local first = place and redis.pcall('XRANGE', queue, place, place)[1]
  return not (first and first[2][2] == id)
end

if #back < limit then
  local streams = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', limit - #back, 'STREAMS', queue, '>')
  local entries, ids = streams and streams[1][2] or {}, {}
  for n, entry in ipairs(entries) do
    ids[n] = entry[2][2] or ''
  end
  local records = #ids > 0 and redis.call('HMGET', payments, unpack(ids)) or {}
  for n, entry in ipairs(entries) do
    local place, fields, record = entry[1], entry[2], records[n]
    if record and fields[1] == 'p' and string.sub(record, 1, 1) == 'D' and entry_of(record) == place then
      -- Charged, as its processor's record proved while it waited: a dead letter until it is settled (set_proven.lua).
      redis.call('XACK', queue, group, place)
    elseif record and fields[1] == 'p' and entry_of(record) == place then
      reply[#reply + 1] = ids[n]
      reply[#reply + 1] = record
    elseif record and fields[1] == 'p' and is_spoilt(ids[n], record) then
      set_waiting_aside(place, ids[n], record)
    else
      -- Not written by us. Put aside, where an operator sees it, or it would come again for ever.
      if redis.call('HLEN', poison) < 1000 then
        redis.call('HSET', poison, place, string.sub(table.concat(fields, ' '), 1, 200))
      end
      redis.call('HINCRBY', meta, 'poison', 1)
      redis.call('XACK', queue, group, place)
      redis.call('XDEL', queue, place)
    end
  end
end
add_traces(KEYS[7], reply)
return reply
