// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memory of copies.
 */
#include <linux/blk-cgroup.h>
#include <linux/log2.h>
#include <linux/slab.h>

#include "compat.h"
#include "copy.h"
#include "io.h"
#include "store.h"

/* Pages of a large copy are allocated in pieces of at most this order. */
#define LARGE_ORDER		4

/* Reserves: copies, and tables of vectors, that can be made when memory is short. */
#define MIN_COPIES		16

/*
 * If @gfp may sleep, the reserve comes before reclaim, as in mempool_alloc(). That
 * itself is only called without: it would wait for what others give back.
 */
static void *take(mempool_t *pool, gfp_t gfp)
{
	void *element = NULL;

	if (gfpflags_allow_blocking(gfp))
		element = mempool_alloc(pool, GFP_TRY);
	return element ? element : pool->alloc(gfp, pool->pool_data);
}

/*
 * Room for the vectors of at least *@nr pages, which becomes how many they are.
 * Only tables of full size have a reserve.
 */
static struct bio_vec *alloc_vecs(struct copy *copy, unsigned int *nr, gfp_t gfp)
{
	struct bio_vec *vecs;

	if (*nr <= COPY_FEW_PAGES) {
		*nr = COPY_FEW_PAGES;
		return copy->few_vecs;
	}
	if (*nr <= COPY_MAX_PAGES / 2) {
		vecs = kmalloc_array(*nr, sizeof(*vecs), GFP_TRY);
		if (vecs || !gfpflags_allow_blocking(gfp))
			return vecs;
	}
	*nr = COPY_MAX_PAGES;
	return take(&copy->store->tables, gfp);
}

static void free_vecs(struct copy *copy)
{
	struct bio_vec *vecs = copy->bio.bi_io_vec;

	if (copy->bio.bi_max_vecs == COPY_MAX_PAGES)
		mempool_free(vecs, &copy->store->tables);
	else if (vecs != copy->few_vecs)
		kfree(vecs);
}

static void copy_free_pages(struct copy *copy)
{
	unsigned int i;

	for (i = 0; i < copy->bio.bi_vcnt; i++) {
		struct page *page = copy->bio.bi_io_vec[i].bv_page;

		if (copy->order)
			__free_pages(page, copy->order);
		else
			mempool_free(page, &copy->store->pages);
	}
	copy->bio.bi_vcnt = 0;
	copy->bio.bi_iter.bi_size = 0;
}

static void copy_set_order(struct copy *copy, unsigned int order)
{
	copy->order = order;
	copy->unit = copy->store->page_bytes << order;
}

/*
 * Large copies in few pieces, so that devices that take few segments need not
 * split them. Only if that is to be had for nothing, and not where a chunk is
 * smaller than a page, and so must begin one.
 */
static bool copy_alloc_large(struct copy *copy, unsigned int nr_pages)
{
	unsigned int order = min_t(unsigned int, __ffs(nr_pages), LARGE_ORDER);

	if (!order || copy->store->page_bytes < PAGE_SIZE)
		return false;
	copy_set_order(copy, order);
	for (; nr_pages; nr_pages -= 1U << order) {
		struct page *page = alloc_pages(GFP_TRY | __GFP_NORETRY |
						__GFP_COMP, order);

		if (!page) {
			copy_free_pages(copy);
			return false;
		}
		__bio_add_page(&copy->bio, page, copy->unit, 0);
	}
	return true;
}

static bool copy_alloc_pages(struct copy *copy, unsigned int nr_pages, gfp_t gfp)
{
	struct store *store = copy->store;

	if (copy_alloc_large(copy, nr_pages))
		return true;
	copy_set_order(copy, 0);
	while (copy->bio.bi_vcnt < nr_pages) {
		struct page *page = take(&store->pages, gfp);

		if (!page)
			return false;
		__bio_add_page(&copy->bio, page, copy->unit, 0);
	}
	return true;
}

/* Makes all that comes before the memory, which stays as it is. */
static void copy_init(struct copy *copy, struct store *store, unsigned int nr)
{
	memset(copy, 0, offsetof(struct copy, order));
	refcount_set(&copy->refs, 1);
	copy->store = store;
	copy->nr = nr;
	bio_list_init(&copy->waiters);
	RB_CLEAR_NODE(&copy->claim_node);
	INIT_LIST_HEAD(&copy->batch_node);
}

/*
 * Not in the name of who happened to write first: the limits of its control group
 * would hold up all others that wait for the chunks, or for room in the buffer.
 */
static void copy_set_device(struct copy *copy, struct block_device *bdev)
{
	copy->bio.bi_bdev = bdev;
	bio_associate_blkg_from_css(&copy->bio, blkcg_root_css);
}

static void copy_free(struct copy *copy)
{
	copy_free_pages(copy);
	free_vecs(copy);
	bio_uninit(&copy->bio);
	mempool_free(copy, &copy->store->copies);
}

static struct copy *create(struct store *store, struct block_device *bdev,
			   unsigned int nr, gfp_t gfp)
{
	unsigned int nr_pages = nr * store->pages_per_chunk;
	unsigned int nr_vecs = nr_pages;
	struct bio_vec *vecs;
	struct copy *copy;

	copy = take(&store->copies, gfp);
	if (!copy)
		return NULL;
	copy_init(copy, store, nr);
	vecs = alloc_vecs(copy, &nr_vecs, gfp);
	if (!vecs) {
		mempool_free(copy, &store->copies);
		return NULL;
	}
	bio_init(&copy->bio, NULL, vecs, nr_vecs, REQ_OP_READ);
	copy_set_device(copy, bdev);
	if (!copy_alloc_pages(copy, nr_pages, gfp)) {
		copy_free(copy);
		return NULL;
	}
	return copy;
}

struct copy *copy_create(struct store *store, struct block_device *bdev,
			 unsigned int nr, gfp_t gfp)
{
	struct copy *copy;

	if (!gfpflags_allow_blocking(gfp))
		return create(store, bdev, nr, gfp);
	/*
	 * One at a time: the reserves suffice for a largest copy, but not if two
	 * had a part each.
	 */
	mutex_lock(&store->taker);
	copy = create(store, bdev, nr, gfp);
	mutex_unlock(&store->taker);
	if (copy)
		WRITE_ONCE(store->last_copy, jiffies);
	return copy;
}

/*
 * Spares
 *
 * To allocate pages, which many kernels zero, and to free them again costs more
 * than all else that is done for a small copy. So what was written is kept, in
 * lists by size, until the next run of the store's watch.
 */

static struct llist_head *spares_of_size(struct store *store, unsigned int nr)
{
	return is_power_of_2(nr) ? &store->spares[ilog2(nr)] : NULL;
}

struct copy *copy_take_spare(struct store *store, unsigned int nr)
{
	struct llist_head *spares = spares_of_size(store, nr);
	struct copy *copy;

	lockdep_assert_held(&store->lock);
	if (!spares || llist_empty(spares))
		return NULL;
	/* Nobody else takes; those who add take no lock. */
	copy = llist_entry(llist_del_first(spares), struct copy, done_node);
	atomic_sub(nr, &store->nr_spare);
	return copy;
}

void copy_renew(struct copy *copy, struct block_device *bdev)
{
	unsigned short nr_vecs = copy->bio.bi_vcnt;

	copy_init(copy, copy->store, copy->charged);
	bio_reset(&copy->bio, NULL, REQ_OP_READ);
	copy_set_device(copy, bdev);
	copy->bio.bi_vcnt = nr_vecs;
}

static bool is_full(mempool_t *pool)
{
	return READ_ONCE(pool->curr_nr) >= pool->min_nr;
}

/* Whoever waits for memory waits for it to come back to a reserve. */
static bool reserves_are_full(struct store *store)
{
	return is_full(&store->copies) && is_full(&store->tables) &&
	       is_full(&store->pages);
}

static bool copy_keep(struct copy *copy)
{
	struct store *store = copy->store;
	unsigned int nr = copy->charged;	/* copy->nr may be less */
	struct llist_head *spares = spares_of_size(store, nr);

	if (!spares || !reserves_are_full(store) ||
	    atomic_read(&store->nr_unpublished))
		return false;
	if (atomic_add_return(nr, &store->nr_spare) > READ_ONCE(store->spare_limit)) {
		atomic_sub(nr, &store->nr_spare);
		return false;
	}
	llist_add(&copy->done_node, spares);
	return true;
}

void copy_put(struct copy *copy)
{
	if (refcount_dec_and_test(&copy->refs) && !copy_keep(copy))
		copy_free(copy);
}

void copy_free_spares(struct store *store)
{
	struct llist_node *spares[ARRAY_SIZE(store->spares)];
	struct copy *copy, *next;
	unsigned int i;

	spin_lock(&store->lock);
	for (i = 0; i < ARRAY_SIZE(spares); i++)
		spares[i] = llist_del_all(&store->spares[i]);
	spin_unlock(&store->lock);

	for (i = 0; i < ARRAY_SIZE(spares); i++) {
		llist_for_each_entry_safe(copy, next, spares[i], done_node) {
			atomic_sub(1U << i, &store->nr_spare);
			copy_free(copy);
		}
	}
}

int copy_init_reserves(struct store *store)
{
	int r;

	r = mempool_init_kmalloc_pool(&store->copies, MIN_COPIES, sizeof(struct copy));
	if (r)
		return r;
	r = mempool_init_kmalloc_pool(&store->tables, MIN_COPIES,
				      COPY_MAX_PAGES * sizeof(struct bio_vec));
	if (r)
		goto free_copies;
	r = mempool_init_page_pool(&store->pages, COPY_MAX_PAGES, 0);
	if (r)
		goto free_tables;
	return 0;

free_tables:
	mempool_exit(&store->tables);
free_copies:
	mempool_exit(&store->copies);
	return r;
}

void copy_exit_reserves(struct store *store)
{
	mempool_exit(&store->pages);
	mempool_exit(&store->tables);
	mempool_exit(&store->copies);
}

struct page *copy_page_at(struct copy *copy, unsigned int offset)
{
	return copy->bio.bi_io_vec[offset / copy->unit].bv_page +
	       offset % copy->unit / PAGE_SIZE;
}
