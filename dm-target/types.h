/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Index types and the conversions between them.
 *
 * Three index spaces meet in this module: sectors of an origin, chunks of an
 * origin and chunks of a store. The chunk types are __bitwise, so that sparse
 * finds every place where one is used for another.
 */
#ifndef DIFFSNAP_TYPES_H
#define DIFFSNAP_TYPES_H

#include <linux/types.h>

/* A chunk of an origin, counted from the origin's start. */
typedef u64 __bitwise chunk_t;

/* A chunk-sized place in a store, counted from the store's start. */
typedef u64 __bitwise place_t;

/* A region is the unit in which the chunk map is populated. */
#define REGION_SHIFT		9
#define REGION_CHUNKS		(1U << REGION_SHIFT)

static inline u64 from_chunk(chunk_t chunk)
{
	return (__force u64)chunk;
}

static inline chunk_t to_chunk(u64 index)
{
	return (__force chunk_t)index;
}

static inline u64 from_place(place_t place)
{
	return (__force u64)place;
}

static inline place_t to_place(u64 index)
{
	return (__force place_t)index;
}

static inline chunk_t chunk_add(chunk_t chunk, u64 nr)
{
	return to_chunk(from_chunk(chunk) + nr);
}

static inline place_t place_add(place_t place, u64 nr)
{
	return to_place(from_place(place) + nr);
}

/*
 * Chunks that hold so many sectors, a partial last one included; @shift is log2
 * of the sectors in a chunk. On the fast path, and so no division.
 */
static inline u64 sectors_to_chunks(u64 sectors, unsigned int shift)
{
	return (sectors + (1ULL << shift) - 1) >> shift;
}

static inline unsigned long chunk_region(chunk_t chunk)
{
	return from_chunk(chunk) >> REGION_SHIFT;
}

static inline unsigned int chunk_in_region(chunk_t chunk)
{
	return from_chunk(chunk) & (REGION_CHUNKS - 1);
}

#endif /* DIFFSNAP_TYPES_H */
