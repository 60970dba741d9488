// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracker: a change map with its lock, and generations.
 */
#include <linux/log2.h>
#include <linux/sched.h>

#include "tracker.h"

/*
 * Blocks that are marked in one go, with preemption off and other writes spinning. A
 * message, and a request to write zeroes, may name more.
 */
#define LOCKED_BLOCKS	(64 * LEAF_BLOCKS)

void tracker_init(struct tracker *tracker)
{
	tracker->block_shift = 0;
	tracker->past = PAST_OPEN;
	spin_lock_init(&tracker->lock);
	change_map_init(&tracker->map);
	uuid_gen(&tracker->generation);
}

void tracker_destroy(struct tracker *tracker)
{
	change_map_destroy(&tracker->map);
}

int tracker_prepare(struct tracker *tracker, unsigned int block_sectors, u64 nr_sectors)
{
	bool has_room = change_map_capacity(&tracker->map);
	struct change_slots *slots;
	u64 nr_blocks;

	if (has_room && block_sectors && ilog2(block_sectors) != tracker->block_shift)
		return -EINVAL;
	if (!has_room)
		tracker->block_shift = ilog2(block_sectors ?: DEFAULT_TRACKING_BLOCK);
	nr_blocks = ((nr_sectors - 1) >> tracker->block_shift) + 1;
	if (nr_blocks <= change_map_capacity(&tracker->map))
		return 0;

	slots = change_slots_alloc(nr_blocks, GFP_KERNEL);
	if (!slots)
		return -ENOMEM;
	spin_lock(&tracker->lock);
	slots = change_map_install(&tracker->map, slots);
	spin_unlock(&tracker->lock);
	if (slots)
		change_slots_free_rcu(slots);
	return 0;
}

void tracker_mark(struct tracker *tracker, sector_t start, sector_t end)
{
	u64 block = start >> tracker->block_shift;
	u64 last = (end - 1) >> tracker->block_shift;

	do {
		u64 stop = min(last, block | (LOCKED_BLOCKS - 1));

		spin_lock(&tracker->lock);
		change_map_mark(&tracker->map, block, stop);
		spin_unlock(&tracker->lock);
		block = stop + 1;
	} while (block <= last);
}

void tracker_mark_image(struct tracker *tracker, sector_t start, sector_t end)
{
	spin_lock(&tracker->lock);
	change_map_mark_view(&tracker->map, start >> tracker->block_shift,
			     (end - 1) >> tracker->block_shift);
	spin_unlock(&tracker->lock);
}

/* Has @step go through the whole map, a part under the lock at a time. */
static void walk_map(struct tracker *tracker,
		     u64 (*step)(struct change_map *map, u64 block))
{
	u64 block = 0, capacity = change_map_capacity(&tracker->map);

	while (block < capacity) {
		spin_lock(&tracker->lock);
		block = step(&tracker->map, block);
		spin_unlock(&tracker->lock);
		cond_resched();
	}
}

void tracker_end_view(struct tracker *tracker)
{
	walk_map(tracker, change_map_end_view);
}

int tracker_begin_load(struct tracker *tracker, const uuid_t *generation, u64 number)
{
	if (tracker->past != PAST_OPEN)
		return -EEXIST;
	if (number >= FIRST_INTERVAL)
		return -ERANGE;
	tracker->past = PAST_LOADING;
	tracker->past_generation = *generation;
	spin_lock(&tracker->lock);
	change_map_set_past(&tracker->map, number);
	spin_unlock(&tracker->lock);
	return 0;
}

int tracker_load(struct tracker *tracker, sector_t start, sector_t end, u64 number)
{
	struct change_map *map = &tracker->map;
	int r = -ERANGE;

	if (tracker->past != PAST_LOADING)
		return -ENOENT;
	spin_lock(&tracker->lock);
	if (number && number <= map->number - map->forgotten) {
		change_map_load(map, start >> tracker->block_shift,
				(end - 1) >> tracker->block_shift,
				map->forgotten + number);
		r = 0;
	}
	spin_unlock(&tracker->lock);
	return r;
}

int tracker_end_load(struct tracker *tracker)
{
	if (tracker->past != PAST_LOADING)
		return -ENOENT;
	tracker->past = PAST_CLOSED;
	spin_lock(&tracker->lock);
	tracker->generation = tracker->past_generation;
	spin_unlock(&tracker->lock);
	return 0;
}

void tracker_renew(struct tracker *tracker)
{
	tracker->past = PAST_CLOSED;
	spin_lock(&tracker->lock);
	uuid_gen(&tracker->generation);
	change_map_forget(&tracker->map);
	spin_unlock(&tracker->lock);
	walk_map(tracker, change_map_trim);
}

u64 tracker_state(struct tracker *tracker, uuid_t *generation)
{
	u64 number;

	spin_lock(&tracker->lock);
	*generation = tracker->generation;
	number = READ_ONCE(tracker->map.number) - 1 - tracker->map.forgotten;
	spin_unlock(&tracker->lock);
	return number;
}

static void lookup(struct tracker *tracker, u64 start, struct tracked_range *range,
		   void (*look)(const struct change_map *map, u64 block,
				struct change_run *run))
{
	u64 block = start >> tracker->block_shift;
	struct change_run run;

	spin_lock(&tracker->lock);
	look(&tracker->map, block, &run);
	range->start = start;
	range->nr = ((block + run.nr) << tracker->block_shift) - start;
	range->number = run.number ? run.number - tracker->map.forgotten : 0;
	spin_unlock(&tracker->lock);
}

void tracker_lookup(struct tracker *tracker, u64 start, struct tracked_range *range)
{
	lookup(tracker, start, range, change_map_lookup);
}

void tracker_lookup_newer(struct tracker *tracker, u64 start,
			  struct tracked_range *range)
{
	lookup(tracker, start, range, change_map_lookup_newer);
}
