-- awaiting_get
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.instance_id = ? AND tasks.awaits = ?;

-- blob_get
SELECT blobs.body 
FROM blobs 
WHERE blobs.instance_id = ? AND blobs."key" = ?;

-- blob_new
INSERT INTO blobs (instance_id, "key", body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- blocked_read
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.blocked_on = ? AND tasks.queue IN (SELECT value FROM json_each(?)) AND (tasks.executor IS NULL OR tasks.executor IN (SELECT value FROM json_each(?))) ORDER BY tasks.priority DESC, tasks.blocked_at
 LIMIT ? OFFSET ?;

-- checkpoint_set
INSERT INTO checkpoints (instance_id, path, attempt, at, value) VALUES (?, ?, ?, ?, ?) ON CONFLICT (instance_id, path) DO UPDATE SET attempt = excluded.attempt, at = excluded.at, value = excluded.value;

-- children_get
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.instance_id = ? AND tasks.path > ? AND tasks.path < ? AND tasks.scope = ? AND tasks.state IN ('cancelled', 'completed', 'expired', 'failed', 'skipped') ORDER BY tasks.path
 LIMIT ? OFFSET ?;

-- copy_blobs
INSERT INTO blobs (instance_id, "key", body) SELECT ? AS anon_1, blobs."key", blobs.body 
FROM blobs 
WHERE blobs.instance_id = ? ON CONFLICT DO NOTHING;

-- copy_tasks
INSERT INTO tasks (instance_id, path, scope, executor, gen, state, attempt, failures, crashes, engine, queue, priority, ready_at, wake_at, remaining, open, total, next, width, done, failed, skipped, closed, cursor, output, output_ref, error, started_at, ended_at, phase, deadline_at, awaits, memo, excused, blocked_on, blocked_at, holds) SELECT ? AS anon_1, tasks.path, tasks.scope, tasks.executor, 0, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.instance_id = ? AND (tasks.path >= (? || '.') AND tasks.path < (? || '/') OR tasks.path >= (? || '[') AND tasks.path < (? || '\') OR tasks.path >= (? || '#') AND tasks.path < (? || '$') OR tasks.path >= (? || '!') AND tasks.path < (? || '"')) AND tasks.state IN ('cancelled', 'completed', 'expired', 'failed', 'skipped');

-- copy_vars
INSERT INTO vars (instance_id, scope, name, writer, rev, gen, value, value_ref) SELECT ? AS anon_1, vars.scope, vars.name, vars.writer, vars.rev, 0, vars.value, vars.value_ref 
FROM vars 
WHERE vars.instance_id = ? AND (vars.scope = ? OR vars.scope >= (? || '.') AND vars.scope < (? || '/') OR vars.scope >= (? || '[') AND vars.scope < (? || '\') OR vars.scope >= (? || '#') AND vars.scope < (? || '$') OR vars.scope >= (? || '!') AND vars.scope < (? || '"') OR vars.writer = ? OR vars.writer >= (? || '.') AND vars.writer < (? || '/') OR vars.writer >= (? || '[') AND vars.writer < (? || '\') OR vars.writer >= (? || '#') AND vars.writer < (? || '$') OR vars.writer >= (? || '!') AND vars.writer < (? || '"')) ON CONFLICT DO NOTHING;

-- definition_get
SELECT definitions.id, definitions.name, definitions.version, definitions.hash, definitions.body, definitions.state, definitions.created_at 
FROM definitions 
WHERE definitions.id = ?;

-- due_read
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.wake_at IS NOT NULL AND tasks.wake_at <= ? ORDER BY tasks.wake_at
 LIMIT ? OFFSET ?;

-- fence
UPDATE engines SET batch=?, lease_until=? WHERE engines.id = ? AND engines.state = 'alive' RETURNING lease_until;

-- get_instance
SELECT instances.id, instances.definition_id, instances.name, instances.version, instances.state, instances."key", instances.gen, instances.sweeps, instances.inputs, instances.inputs_ref, instances.reason, instances.created_at, instances.started_at, instances.ended_at, instances.parent_id, instances.parent_path, instances.depth, instances.mutex, instances.labels, instances.start_at, instances.expires_at, instances.vars_rev, instances.queue, instances.priority, instances.scheduled_for 
FROM instances 
WHERE instances.id = ?;

-- get_task
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.instance_id = ? AND tasks.path = ?;

-- instance_new
INSERT INTO instances (id, definition_id, name, version, state, "key", gen, inputs, inputs_ref, created_at, started_at, ended_at, parent_id, parent_path, depth, mutex, labels, start_at, expires_at, vars_rev, queue, priority, scheduled_for) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- instance_set
UPDATE instances SET definition_id=?, version=?, state=?, gen=?, sweeps=?, reason=?, started_at=?, ended_at=?, vars_rev=? WHERE instances.id = ?;

-- journal
INSERT INTO journal (instance_id, seq, path, gen, attempt, from_state, to_state, reason, at, engine) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- key_end
DELETE FROM keys WHERE keys.name = ? AND keys.kind = ? AND keys."key" = ? AND keys.instance_id = ?;

-- key_get
SELECT keys.instance_id 
FROM keys 
WHERE keys.name = ? AND keys.kind = ? AND keys."key" = ?;

-- key_new
INSERT INTO keys (name, kind, "key", instance_id) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- label_new
INSERT INTO labels (instance_id, name, value) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- leaf_new
INSERT INTO tasks (instance_id, path, scope, executor, gen, state, attempt, engine, queue, priority, ready_at, wake_at, remaining, started_at, ended_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- leaf_set
UPDATE tasks SET gen=?, state=?, attempt=?, failures=?, crashes=?, engine=?, ready_at=?, wake_at=?, remaining=?, closed=?, output=?, output_ref=?, error=?, started_at=?, ended_at=? WHERE tasks.instance_id = ? AND tasks.path = ?;

-- limit_get
SELECT limits.name, limits.concurrency, limits.rate_count, limits.rate_period, limits.burst, limits.explicit, limits.used, limits.waiting, limits.full_at, limits.updated_at 
FROM limits 
WHERE limits.name = ?;

-- limit_new
INSERT INTO limits (name, updated_at) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- limit_set
UPDATE limits SET used=?, waiting=?, full_at=?, updated_at=? WHERE limits.name = ?;

-- limit_waiting
SELECT limits.waiting 
FROM limits 
WHERE limits.name = ?;

-- limits_set
SELECT limits.name 
FROM limits 
WHERE limits.explicit = 1;

-- log_new
INSERT INTO logs (instance_id, seq, path, attempt, at, level, message) VALUES (?, ?, ?, ?, ?, ?, ?);

-- message_end
DELETE FROM messages WHERE messages.instance_id = ? AND messages.source = ?;

-- message_new
INSERT INTO messages (instance_id, source, kind, body, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- next_wake
SELECT min(tasks.wake_at) AS min_1 
FROM tasks 
WHERE tasks.wake_at IS NOT NULL;

-- number
INSERT INTO sequences (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = (sequences.value + ?) RETURNING value;

-- open_under
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.instance_id = ? AND tasks.path > ? AND tasks.path < ? AND tasks.state NOT IN ('cancelled', 'completed', 'expired', 'failed', 'skipped') ORDER BY tasks.path
 LIMIT ? OFFSET ?;

-- progress_set
INSERT INTO progress (instance_id, path, attempt, at, fraction, message) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (instance_id, path) DO UPDATE SET attempt = excluded.attempt, at = excluded.at, fraction = excluded.fraction, message = excluded.message;

-- prune_blobs
DELETE FROM blobs WHERE blobs.instance_id = ? AND (blobs."key" >= ('items:' || ? || ':') AND blobs."key" < ('items:' || ? || ';') OR blobs."key" >= ('items:' || ? || '.') AND blobs."key" < ('items:' || ? || '/') OR blobs."key" >= ('items:' || ? || '[') AND blobs."key" < ('items:' || ? || '\') OR blobs."key" >= ('items:' || ? || '#') AND blobs."key" < ('items:' || ? || '$') OR blobs."key" >= ('items:' || ? || '!') AND blobs."key" < ('items:' || ? || '"') OR blobs."key" >= ('keys:' || ? || ':') AND blobs."key" < ('keys:' || ? || ';') OR blobs."key" >= ('keys:' || ? || '.') AND blobs."key" < ('keys:' || ? || '/') OR blobs."key" >= ('keys:' || ? || '[') AND blobs."key" < ('keys:' || ? || '\') OR blobs."key" >= ('keys:' || ? || '#') AND blobs."key" < ('keys:' || ? || '$') OR blobs."key" >= ('keys:' || ? || '!') AND blobs."key" < ('keys:' || ? || '"'));

-- prune_checkpoints
DELETE FROM checkpoints WHERE checkpoints.instance_id = ? AND (checkpoints.path = ? OR checkpoints.path >= (? || '.') AND checkpoints.path < (? || '/') OR checkpoints.path >= (? || '[') AND checkpoints.path < (? || '\') OR checkpoints.path >= (? || '#') AND checkpoints.path < (? || '$') OR checkpoints.path >= (? || '!') AND checkpoints.path < (? || '"'));

-- prune_progress
DELETE FROM progress WHERE progress.instance_id = ? AND (progress.path = ? OR progress.path >= (? || '.') AND progress.path < (? || '/') OR progress.path >= (? || '[') AND progress.path < (? || '\') OR progress.path >= (? || '#') AND progress.path < (? || '$') OR progress.path >= (? || '!') AND progress.path < (? || '"'));

-- prune_tasks
DELETE FROM tasks WHERE tasks.instance_id = ? AND (tasks.path = ? OR tasks.path >= (? || '.') AND tasks.path < (? || '/') OR tasks.path >= (? || '[') AND tasks.path < (? || '\') OR tasks.path >= (? || '#') AND tasks.path < (? || '$') OR tasks.path >= (? || '!') AND tasks.path < (? || '"'));

-- prune_vars
DELETE FROM vars WHERE vars.instance_id = ? AND (vars.scope = ? OR vars.scope >= (? || '.') AND vars.scope < (? || '/') OR vars.scope >= (? || '[') AND vars.scope < (? || '\') OR vars.scope >= (? || '#') AND vars.scope < (? || '$') OR vars.scope >= (? || '!') AND vars.scope < (? || '"'));

-- queue_depth
SELECT count(*) AS count_1 
FROM (SELECT tasks.path AS path 
FROM tasks 
WHERE tasks.queue = ? AND tasks.ready_at IS NOT NULL
 LIMIT ? OFFSET ?) AS anon_1;

-- queued_get
SELECT instances.id 
FROM instances 
WHERE instances.name = ? AND instances.mutex = ? AND instances.state = 'queued' ORDER BY instances.id
 LIMIT ? OFFSET ?;

-- queues_get
SELECT queues.name, queues.state, queues.max_size, queues.reason, queues.updated_at 
FROM queues;

-- ready_read
SELECT tasks.instance_id, tasks.path, tasks.scope, tasks.executor, tasks.gen, tasks.state, tasks.attempt, tasks.failures, tasks.crashes, tasks.engine, tasks.queue, tasks.priority, tasks.ready_at, tasks.wake_at, tasks.remaining, tasks.open, tasks.total, tasks.next, tasks.width, tasks.done, tasks.failed, tasks.skipped, tasks.closed, tasks.cursor, tasks.output, tasks.output_ref, tasks.error, tasks.started_at, tasks.ended_at, tasks.phase, tasks.deadline_at, tasks.awaits, tasks.memo, tasks.excused, tasks.blocked_on, tasks.blocked_at, tasks.holds 
FROM tasks 
WHERE tasks.queue = ? AND tasks.ready_at IS NOT NULL AND (tasks.executor IS NULL OR tasks.executor IN (SELECT value FROM json_each(?))) ORDER BY tasks.priority DESC, tasks.ready_at
 LIMIT ? OFFSET ?;

-- receipt
SELECT engines.batch, engines.state 
FROM engines 
WHERE engines.id = ?;

-- scope_new
INSERT INTO tasks (instance_id, path, scope, executor, gen, state, attempt, engine, queue, priority, ready_at, wake_at, remaining, open, total, next, width, done, failed, skipped, closed, output, output_ref, error, started_at, ended_at, phase, deadline_at, awaits, memo, excused, blocked_on, blocked_at, holds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- scope_set
UPDATE tasks SET gen=?, state=?, attempt=?, failures=?, crashes=?, engine=?, ready_at=?, wake_at=?, remaining=?, open=?, total=?, next=?, width=?, done=?, failed=?, skipped=?, closed=?, cursor=?, output=?, output_ref=?, error=?, started_at=?, ended_at=?, phase=?, deadline_at=?, awaits=?, memo=?, excused=?, blocked_on=?, blocked_at=?, holds=? WHERE tasks.instance_id = ? AND tasks.path = ?;

-- setting_get
SELECT settings.value 
FROM settings 
WHERE settings.name = ?;

-- signal_get
SELECT signals.seq 
FROM signals 
WHERE signals.instance_id = ? AND signals.id = ?;

-- signal_new
INSERT INTO signals (instance_id, id, name, value, value_ref, at, consumed_by, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- signal_taken
UPDATE signals SET consumed_by=? WHERE signals.instance_id = ? AND signals.id = ?;

-- signals_get
SELECT signals.instance_id, signals.id, signals.name, signals.value, signals.value_ref, signals.at, signals.consumed_by, signals.seq 
FROM signals 
WHERE signals.instance_id = ? AND signals.name = ? AND signals.consumed_by IS NULL ORDER BY signals.seq
 LIMIT ? OFFSET ?;

-- task_moved
UPDATE tasks SET priority=?, ready_at=? WHERE tasks.instance_id = ? AND tasks.path = ?;

-- unset_vars
DELETE FROM vars WHERE vars.instance_id = ? AND (vars.scope = ? OR vars.scope >= (? || '.') AND vars.scope < (? || '/') OR vars.scope >= (? || '[') AND vars.scope < (? || '\') OR vars.scope >= (? || '#') AND vars.scope < (? || '$') OR vars.scope >= (? || '!') AND vars.scope < (? || '"') OR vars.writer = ? OR vars.writer >= (? || '.') AND vars.writer < (? || '/') OR vars.writer >= (? || '[') AND vars.writer < (? || '\') OR vars.writer >= (? || '#') AND vars.writer < (? || '$') OR vars.writer >= (? || '!') AND vars.writer < (? || '"'));

-- var_set
INSERT INTO vars (instance_id, scope, name, writer, rev, gen, value, value_ref) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (instance_id, scope, name, writer) DO UPDATE SET rev = excluded.rev, gen = excluded.gen, value = excluded.value, value_ref = excluded.value_ref;
