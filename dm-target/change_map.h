/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The change map: for each block of one origin, in which interval it was last
 * written.
 *
 * Intervals are numbered; a cut ends the present one. The map keeps the
 * newest number of each block, so that 'what changed after number N' is the
 * set of blocks with a larger one. An answer may hold a block too many, never
 * one too few: what must go wrong, goes wrong in that direction.
 *
 * Blocks are grouped in leaves of LEAF_BLOCKS. A slot for each leaf, in one
 * array, says one of three things, so that memory follows what was written:
 *
 *   nothing	no block of the leaf was ever written;
 *   a number	all its blocks were written then: by one large request, or
 *		because there was no memory to be more exact;
 *   a leaf	a byte for each block, counted from the leaf's base.
 *
 * A byte has room for 255 intervals. When they are used up, the older half of
 * the leaf's numbers is merged: they are taken for newer than they are.
 *
 * The view is the map as it was at a cut, for as long as a snapshot lives. The
 * cut copies nothing: a leaf that is older than the cut is copied when it is
 * next written, and the former one hangs on the new one, frozen.
 *
 * A new map may be given a past: numbers of intervals before its first, which it
 * keeps wherever it knows no newer ones itself.
 *
 * There are no bios and no devices in here, and the file builds on a host
 * (tests/kernel-host).
 *
 * Locking: the caller serializes everything by one lock per map (struct
 * tracker::lock), but change_map_marked() and change_map_cut(). No function
 * sleeps, unless it says so; memory is taken with GFP_TRY.
 */
#ifndef DIFFSNAP_CHANGE_MAP_H
#define DIFFSNAP_CHANGE_MAP_H

#include <linux/gfp.h>
#include <linux/rcupdate.h>
#include <linux/types.h>

#define LEAF_SHIFT	10
#define LEAF_BLOCKS	(1U << LEAF_SHIFT)

/*
 * Number of a new map's interval; those below are for its past. Entries of slots
 * hold numbers in a bit less than a long.
 */
#define FIRST_INTERVAL	(1U << 30)

struct change_slots;

struct change_map {
	struct change_slots __rcu *slots;
	u64 number;		/* of the present interval */
	u64 view;		/* number that the last cut ended, 0: no view */
	u64 forgotten;		/* up to this number, nothing counts any more */
	u64 nr_leaves;		/* allocated, frozen ones included */
};

/* Consecutive blocks that were last written in the same interval. */
struct change_run {
	u64 nr;
	u64 number;		/* 0: never */
};

/*
 * Room for @nr_blocks: allocated by a caller that may sleep, for
 * change_map_install(). NULL without memory.
 */
struct change_slots *change_slots_alloc(u64 nr_blocks, gfp_t gfp);
void change_slots_free(struct change_slots *slots);

/* Readies a map without slots. */
void change_map_init(struct change_map *map);

/*
 * Gives the map more room, or none but what it has if that is not less.
 * Returns what is to be given to change_slots_free_rcu() then, or NULL.
 */
struct change_slots *change_map_install(struct change_map *map,
					struct change_slots *slots);
void change_slots_free_rcu(struct change_slots *slots);

/* Blocks that there is room for. */
u64 change_map_capacity(const struct change_map *map);

/* Frees all memory. Nobody else may use the map any more; may sleep. */
void change_map_destroy(struct change_map *map);

/*
 * Tells, without a lock, whether the blocks from @first to @last are marked for
 * the present interval. A no may be wrong, a yes is not. Inside an RCU read
 * section. The cut must not be under way: a write that asks has been let in.
 */
bool change_map_marked(const struct change_map *map, u64 first, u64 last);

/*
 * Marks the blocks from @first to @last, which there must be room for. Cannot
 * fail: without memory the whole of a leaf is marked.
 */
void change_map_mark(struct change_map *map, u64 first, u64 last);

/* Likewise, and as changed before the cut, too: the image was written to. */
void change_map_mark_view(struct change_map *map, u64 first, u64 last);

/*
 * Ends the present interval: from now on there is a view. Only while no
 * write is in and no view is in use: it is part of what gates are closed for, and
 * so takes no lock.
 */
void change_map_cut(struct change_map *map);

/*
 * Forgets what was frozen for the view in some leaves from @block on. Returns
 * the block to go on with; the view is over when that is the map's capacity.
 */
u64 change_map_end_view(struct change_map *map, u64 block);

/* As if nothing had ever been written. There must be no view. */
void change_map_forget(struct change_map *map);

/*
 * Frees some leaves from @block on in which nothing counts. Returns the block
 * to go on with, at last the map's capacity.
 */
u64 change_map_trim(struct change_map *map, u64 block);

/*
 * The first interval comes after @nr others, fewer than FIRST_INTERVAL, of which
 * change_map_load() tells. Once, and before the first cut.
 */
void change_map_set_past(struct change_map *map, u64 nr);

/*
 * The blocks from @first to @last, which there must be room for, were last written
 * in interval @number of the past or in the present one, but for those that are
 * known to have been written later. Cannot fail: without memory the whole of a leaf
 * is marked. Before the first cut.
 */
void change_map_load(struct change_map *map, u64 first, u64 last, u64 number);

/*
 * Describes the run that begins at @block, in the view if there is one. It may
 * end before the number changes; the caller joins runs.
 */
void change_map_lookup(const struct change_map *map, u64 block,
		       struct change_run *run);

/*
 * Likewise, of what was marked after the cut whose view there is. The number is
 * 0 for blocks that were not, and the present interval's for the others.
 */
void change_map_lookup_newer(const struct change_map *map, u64 block,
			     struct change_run *run);

int change_map_module_init(void);
void change_map_module_exit(void);

#endif /* DIFFSNAP_CHANGE_MAP_H */
