/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The chunk map: what is known of each chunk of one origin in one snapshot.
 *
 * A chunk that the map does not know is unsettled. A chunk that it knows is
 * settled, and stays so for the life of the map: its contents lie at a place
 * of the store, or it was released and reads as zeroes. So the map needs no
 * separate bitmap of settled chunks: 'settled' and 'covered by an extent' are
 * the same fact, published by one store.
 *
 * Chunks are grouped in regions of REGION_CHUNKS. A region is an entry of an
 * xarray, in one of three forms, so that memory follows what happened there:
 *
 *   nothing	no chunk of the region is settled;
 *   a value	exactly one extent, packed into the xarray's value entry;
 *   a node	a sorted array of packed extents, 8 bytes each, that grows
 *		through the slab's size classes.
 *
 * There are no bios and no devices in here, and the file builds on a host
 * (tests/kernel-host).
 *
 * Locking: the caller serializes everything but chunk_map_peek() by one lock
 * per map (struct member::lock); those functions neither sleep nor allocate,
 * unless they say so. chunk_map_peek() takes no lock and may be called in any
 * context, hard interrupts included.
 */
#ifndef DIFFSNAP_CHUNK_MAP_H
#define DIFFSNAP_CHUNK_MAP_H

#include <linux/gfp.h>
#include <linux/xarray.h>

#include "types.h"

struct chunk_map {
	struct xarray regions;
	u64 nr_chunks;		/* size of the origin, the last may be partial */

	/* Chunks in each state; protected by the caller's lock. */
	u64 nr_preserved;	/* old contents kept in the store */
	u64 nr_written;		/* contents written to the image, in the store */
	u64 nr_released;	/* read as zeroes, no place in the store */
	u64 nr_bytes;		/* memory of the region nodes, in bytes */
};

enum run_state {
	RUN_UNSETTLED,
	RUN_PRESERVED,		/* at run.place: the origin's contents at the cut */
	RUN_WRITTEN,		/* at run.place: written to the image */
	RUN_RELEASED,		/* zeroes */
};

/* Consecutive chunks in the same state and, if stored, at consecutive places. */
struct chunk_run {
	enum run_state state;
	unsigned int nr;
	place_t place;		/* PRESERVED and WRITTEN only */
};

/* The answer of chunk_map_peek(). */
enum settled {
	SETTLED_NONE,		/* no chunk of the range was settled */
	SETTLED_ALL,		/* all are, and stay so */
	SETTLED_UNSURE,		/* some, or an update was under way: take the lock */
};

/* How many places of a store an extent can tell apart. */
#define MAP_MAX_PLACES	((1ULL << 44) - 1)

/* Bytes of the largest node: every chunk of the region an extent of its own. */
#define MAP_NODE_MAX	8192

/*
 * Memory for one region's node, allocated by a caller that may do so, for the
 * use of chunk_map_set(), which may not.
 */
struct map_spare {
	void *node;
	size_t size;		/* usable bytes at node */
	size_t needed;		/* set by chunk_map_set() with -EAGAIN */
};

/* Readies an empty map for an origin of @nr_chunks chunks. Cannot fail. */
void chunk_map_init(struct chunk_map *map, u64 nr_chunks);

/* Frees all memory. Nobody else may use the map any more; may sleep. */
void chunk_map_destroy(struct chunk_map *map);

/*
 * Tells, without a lock and in any context, whether @nr chunks from @chunk,
 * all in one region, are settled. SETTLED_NONE and SETTLED_ALL are exact as
 * of some moment during the call: an extent whose chunk_map_set() had ended
 * before the call is never missed.
 */
enum settled chunk_map_peek(const struct chunk_map *map, chunk_t chunk,
			    unsigned int nr);

/*
 * Describes the run that begins at @chunk, at most @max_nr chunks of one
 * region long.
 */
void chunk_map_lookup(const struct chunk_map *map, chunk_t chunk,
		      unsigned int max_nr, struct chunk_run *run);

/*
 * Makes sure that the xarray has a slot for @chunk's region, so that a later
 * chunk_map_set() there needs no memory for the xarray itself. Takes the
 * xarray's own lock only; may be called with or without the caller's. May
 * sleep if @gfp may. Returns 0 or -ENOMEM.
 */
int chunk_map_reserve(struct chunk_map *map, chunk_t chunk, gfp_t gfp);

/*
 * Puts run->nr chunks from @chunk, all in one region, into @run->state, which
 * must not be RUN_UNSETTLED. Whatever the map knew of these chunks is
 * forgotten; freeing their places is the caller's business, beforehand.
 * Neighbours are merged.
 *
 * When a larger node is needed, it is taken from @spare. Returns -EAGAIN, with
 * nothing changed and spare->needed set, if there is none or it is too small:
 * the caller drops its lock, calls map_spare_fill() and tries again. Returns
 * -ENOMEM if the region was not reserved, and -EINVAL, with a warning, for a
 * run that no map can hold. The new state is visible to
 * chunk_map_peek() with release semantics.
 */
int chunk_map_set(struct chunk_map *map, chunk_t chunk,
		  const struct chunk_run *run, struct map_spare *spare);

/*
 * Allocates spare->needed bytes, replacing what @spare holds. May sleep if
 * @gfp may. Returns 0 or -ENOMEM.
 */
int map_spare_fill(struct map_spare *spare, gfp_t gfp);

/* Frees what @spare still holds. */
void map_spare_release(struct map_spare *spare);

#endif /* DIFFSNAP_CHUNK_MAP_H */
