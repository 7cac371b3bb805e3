-- Deletes all messages of a room, which continues in another epoch that forks from none. What is kept of its publishers
-- stays: `deleted` says which of their messages are gone.
--
-- ARGV: 3 the channel, on which the servers that watch the room are told.
--
-- The answer: the epoch, and how many messages were deleted.

if not made then
    return { epoch, '0' }
end
local newest = text(head)
-- The first command is one that a Redis without memory does not refuse.
redis.call('UNLINK', log_key)
redis.call('HSET', state_key, 'epoch', random, 'forks', '', 'floor', newest, 'bytes', '0', 'deleted', newest)
redis.call('HDEL', state_key, 'oldest')
redis.call(PUBLISH, ARGV[3], 'restarted ' .. random .. ' ' .. newest)
return { random, text(head - floor) }
