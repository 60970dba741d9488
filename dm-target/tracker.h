/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The tracker: the record of what changed on one origin in which snapshot
 * interval, with its generation.
 *
 * Part of the origin, and as old as that: it outlives tables. Whatever may have
 * let writes pass unseen ends the generation.
 */
#ifndef DIFFSNAP_TRACKER_H
#define DIFFSNAP_TRACKER_H

#include <linux/spinlock.h>
#include <linux/uuid.h>

#include "change_map.h"

/* Sectors of a block of the tracker. */
#define MIN_TRACKING_BLOCK	8
#define MAX_TRACKING_BLOCK	32768
#define DEFAULT_TRACKING_BLOCK	128

/* Whether a tracker can be told what there was before it; registry_mutex. */
enum tracker_past {
	PAST_OPEN,	/* there was neither a snapshot nor a reason to renew */
	PAST_LOADING,
	PAST_CLOSED,
};

struct tracker {
	unsigned int block_shift;	/* log2 of the block's sectors */
	enum tracker_past past;
	uuid_t past_generation;		/* that goes on when all is loaded */

	spinlock_t lock;		/* protects what follows */
	struct change_map map;
	uuid_t generation;
};

/* What tracker_lookup() finds, in sectors. */
struct tracked_range {
	u64 start, nr;
	u64 number;		/* of the generation; 0: never written in it */
};

/* Begins the first generation of a tracker without room. */
void tracker_init(struct tracker *tracker);

/* Frees all memory. Nobody else may use the tracker any more; may sleep. */
void tracker_destroy(struct tracker *tracker);

/*
 * Makes room for a device of @nr_sectors, in blocks of @block_sectors or, if
 * that is 0, of those that the tracker has. Sleeps. Returns -EINVAL if it has
 * others already, and -ENOMEM. Under registry_mutex.
 */
int tracker_prepare(struct tracker *tracker, unsigned int block_sectors,
		    u64 nr_sectors);

/* Marks sectors from @start to before @end as changed now. */
void tracker_mark(struct tracker *tracker, sector_t start, sector_t end);

/* Likewise, for a write to the image of the snapshot that holds the origin. */
void tracker_mark_image(struct tracker *tracker, sector_t start, sector_t end);

/*
 * Marks for a write that was let in and is not yet submitted. Without a lock,
 * and with little more than a compare, if all of it is marked already. Inside an RCU
 * read section.
 */
static inline void tracker_mark_write(struct tracker *tracker, sector_t start,
				      sector_t end)
{
	if (!change_map_marked(&tracker->map, start >> tracker->block_shift,
			       (end - 1) >> tracker->block_shift))
		tracker_mark(tracker, start, end);
}

/*
 * For the cut, while the gate is closed and nothing is in flight: what comes
 * now belongs to the next interval.
 */
static inline void tracker_cut(struct tracker *tracker)
{
	change_map_cut(&tracker->map);
}

/* The snapshot has let the origin go. Under registry_mutex; may sleep. */
void tracker_end_view(struct tracker *tracker);

/*
 * Goes on with an earlier tracker's @generation, the newest snapshot of which was
 * @number: the first of three steps, and all under registry_mutex. What was marked
 * meanwhile counts as written since that snapshot. Up to the last step nothing can
 * be asked about @generation, and whatever closes the past leaves the tracker with
 * a generation of its own. Returns -EEXIST if it is closed, and -ERANGE.
 */
int tracker_begin_load(struct tracker *tracker, const uuid_t *generation, u64 number);

/*
 * Sectors from @start to before @end had @number, at most that of
 * tracker_begin_load() and one. Returns -ENOENT without that, and -ERANGE.
 */
int tracker_load(struct tracker *tracker, sector_t start, sector_t end, u64 number);

/* All was told. Returns -ENOENT without tracker_begin_load(). */
int tracker_end_load(struct tracker *tracker);

/* A snapshot is to hold the origin. Under registry_mutex. */
static inline void tracker_close_past(struct tracker *tracker)
{
	tracker->past = PAST_CLOSED;
}

/*
 * Begins a new generation: what was written up to now is forgotten. No snapshot
 * may hold the origin. Under registry_mutex; may sleep.
 */
void tracker_renew(struct tracker *tracker);

/* The generation, and the number of its newest snapshot: 0 before the first. */
u64 tracker_state(struct tracker *tracker, uuid_t *generation);

/*
 * Describes the blocks from sector @start on that were last written in the same
 * interval, as the snapshot that holds the origin sees it, or as it is now. The
 * range may end early. The caller keeps the cut away: see origin_message.c.
 */
void tracker_lookup(struct tracker *tracker, u64 start, struct tracked_range *range);

/*
 * Likewise, of what was written after the cut of the snapshot that holds the
 * origin; the number is 0 for what was not.
 */
void tracker_lookup_newer(struct tracker *tracker, u64 start,
			  struct tracked_range *range);

#endif /* DIFFSNAP_TRACKER_H */
