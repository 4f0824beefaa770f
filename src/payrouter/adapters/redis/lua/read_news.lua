-- Everything on the board, and what time it is here.
-- KEYS: board
-- Returns {now, what a note is about, the note, ...}.
local reply = redis.call('HGETALL', KEYS[1])
table.insert(reply, 1, text(now_us()))
return reply
