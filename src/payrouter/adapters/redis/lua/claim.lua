-- Deliver waiting payments to an instance, oldest first.
-- KEYS: dispatchers, queue, payments, again, meta, poison       ARGV: instance, group, limit
-- Returns nil when the instance is fenced; else whether ledger entries were forgotten, then id and record of each.
local dispatchers, queue, payments, again, meta, poison = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local instance, group, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
if not registered(dispatchers, instance) then
  return nil
end
local reply = { redis.call('HGET', meta, 'forgot') or '0' }

-- What was delivered before and came back is older than anything that was not.
local back = redis.call('ZRANGE', again, 0, limit - 1)
if #back > 0 then
  redis.call('ZREMRANGEBYRANK', again, 0, #back - 1)
  local entries = {}
  for _, text in ipairs(back) do
    local id = id_in(text)
    local record = redis.call('HGET', payments, id)
    if record then
      entries[#entries + 1] = entry_of(record)
      reply[#reply + 1] = id
      reply[#reply + 1] = record
    end
  end
  in_chunks(entries, 500, function(...)
    local call = { 'XCLAIM', queue, group, instance, '0', ... }
    call[#call + 1] = 'FORCE'
    call[#call + 1] = 'JUSTID'
    redis.call(unpack(call))
  end)
end

if #back < limit then
  local streams = redis.call('XREADGROUP', 'GROUP', group, instance, 'COUNT', limit - #back, 'STREAMS', queue, '>')
  local entries, ids = streams and streams[1][2] or {}, {}
  for n, entry in ipairs(entries) do
    ids[n] = entry[2][2] or ''
  end
  local records = #ids > 0 and redis.call('HMGET', payments, unpack(ids)) or {}
  for n, entry in ipairs(entries) do
    local fields, record = entry[2], records[n]
    if record and fields[1] == 'p' and entry_of(record) == entry[1] then
      reply[#reply + 1] = fields[2]
      reply[#reply + 1] = record
    else
      -- Not written by us. Put aside, where an operator sees it, or it would come again for ever.
      redis.call('HSET', poison, entry[1], string.sub(table.concat(fields, ' '), 1, 200))
      redis.call('XACK', queue, group, entry[1])
      redis.call('XDEL', queue, entry[1])
      redis.call('HINCRBY', meta, 'poison', 1)
    end
  end
end
return reply
