-- The newest message of those that were deleted with the room: resends of them are refused. From this version on, a
-- message whose body was deleted has an empty one, which is no JSON.
ALTER TABLE rooms ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
