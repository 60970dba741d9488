// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages to an origin: what its tracker knows, and what it is told.
 *
 * One message at a time, under registry_mutex and, if the origin is in a
 * snapshot, under that one's lock. So no cut is made meanwhile, and no
 * generation begins.
 */
#include <linux/device-mapper.h>
#include <linux/sched/signal.h>

#include "origin_message.h"
#include "snapshot.h"

#define DM_MSG_PREFIX "diffsnap"

/* A sector in decimal, or two and a number with what separates them. */
#define MAX_SECTOR_CHARS	20
#define MAX_RANGE_CHARS		(3 * (MAX_SECTOR_CHARS + 1))

/* An answer on its way: "<next> <range>...", of which <next> is known last. */
struct answer {
	char *text;
	unsigned int maxlen, len;	/* of the ranges, from text + MAX_SECTOR_CHARS */
};

static bool answer_init(struct answer *answer, char *result, unsigned int maxlen)
{
	/* dm takes an answer that fills its buffer for one that was cut off. */
	if (maxlen < MAX_SECTOR_CHARS + MAX_RANGE_CHARS + 2)
		return false;
	answer->text = result;
	answer->maxlen = maxlen - MAX_SECTOR_CHARS - 2;
	answer->len = 0;
	return true;
}

static bool answer_is_full(const struct answer *answer)
{
	return answer->len + MAX_RANGE_CHARS > answer->maxlen;
}

static void answer_add(struct answer *answer, const struct tracked_range *range,
		       bool with_number)
{
	char *ranges = answer->text + MAX_SECTOR_CHARS;

	answer->len += scnprintf(ranges + answer->len, answer->maxlen - answer->len,
				 " %llu+%llu", range->start, range->nr);
	if (with_number)
		answer->len += scnprintf(ranges + answer->len,
					 answer->maxlen - answer->len,
					 ":%llu", range->number);
}

/* @next is where to go on, or @end: all was said. */
static void answer_finish(struct answer *answer, u64 next, u64 end)
{
	char word[MAX_SECTOR_CHARS + 1] = "-";
	unsigned int len;

	if (next < end)
		snprintf(word, sizeof(word), "%llu", next);
	len = strlen(word);
	memmove(answer->text + len, answer->text + MAX_SECTOR_CHARS, answer->len);
	memcpy(answer->text, word, len);
	answer->text[len + answer->len] = 0;
}

/* Size of what is tracked: of the image, if there is one. */
static u64 tracked_sectors(struct origin *origin)
{
	struct member *member =
		rcu_dereference_protected(origin->member,
					  lockdep_is_held(&registry_mutex));

	return member ? member->nr_sectors : origin->nr_sectors;
}

typedef void (*lookup_fn)(struct tracker *tracker, u64 start,
			  struct tracked_range *range);

/*
 * Looks into the map for one answer. More are another message's, for cuts and
 * resumes of any origin wait for this one.
 */
#define MAX_LOOKUPS	(1U << 16)

/*
 * Answers with the ranges from sector @next on whose number is above @since,
 * as @lookup tells it. Neighbours with the same number, or any above @since if
 * the number is not told, are one range.
 */
static int answer_ranges(struct origin *origin, lookup_fn lookup, u64 since, u64 next,
			 bool with_number, char *result, unsigned int maxlen)
{
	struct tracked_range range, pending = { };
	u64 end = tracked_sectors(origin);
	unsigned int nr_lookups = 0;
	struct answer answer;

	if (!answer_init(&answer, result, maxlen))
		return -EOVERFLOW;
	while (next < end && nr_lookups++ < MAX_LOOKUPS && !answer_is_full(&answer) &&
	       !fatal_signal_pending(current)) {
		lookup(&origin->tracker, next, &range);
		range.nr = min(range.nr, end - next);
		next += range.nr;
		if (pending.nr && range.number > since &&
		    (!with_number || range.number == pending.number)) {
			pending.nr += range.nr;
		} else {
			if (pending.nr)
				answer_add(&answer, &pending, with_number);
			pending = range;
			if (range.number <= since)
				pending.nr = 0;
		}
		cond_resched();
	}
	/* There is room: one was added at most since that was asked. */
	if (pending.nr && !answer_is_full(&answer))
		answer_add(&answer, &pending, with_number);
	else if (pending.nr)
		next = pending.start;
	answer_finish(&answer, next, end);
	return 1;
}

/* changes <generation> <since> <from> */
static int message_changes(struct origin *origin, unsigned int argc, char **argv,
			   char *result, unsigned int maxlen)
{
	uuid_t wanted, generation;
	u64 since, from, newest;

	if (argc != 4 || uuid_parse(argv[1], &wanted) ||
	    kstrtou64(argv[2], 10, &since) || kstrtou64(argv[3], 10, &from))
		return -EINVAL;
	newest = tracker_state(&origin->tracker, &generation);
	if (!uuid_equal(&wanted, &generation))
		return -ESTALE;
	if (since > newest)
		return -EINVAL;
	return answer_ranges(origin, tracker_lookup, since, from, false, result, maxlen);
}

/* numbers <from> */
static int message_numbers(struct origin *origin, unsigned int argc, char **argv,
			   char *result, unsigned int maxlen)
{
	u64 from;

	if (argc != 2 || kstrtou64(argv[1], 10, &from))
		return -EINVAL;
	return answer_ranges(origin, tracker_lookup, 0, from, true, result, maxlen);
}

/* newer <from> */
static int message_newer(struct origin *origin, unsigned int argc, char **argv,
			 char *result, unsigned int maxlen)
{
	struct member *member =
		rcu_dereference_protected(origin->member,
					  lockdep_is_held(&registry_mutex));
	u64 from;

	if (argc != 2 || kstrtou64(argv[1], 10, &from))
		return -EINVAL;
	/* Before the cut there is no view, and nothing would be newer. */
	if (!member || !snapshot_active(member->snapshot))
		return -ENODATA;
	return answer_ranges(origin, tracker_lookup_newer, 0, from, false, result,
			     maxlen);
}

static int check_range(u64 start, u64 nr, u64 nr_sectors)
{
	if (!nr)
		return -EINVAL;
	return start < nr_sectors && nr <= nr_sectors - start ? 0 : -ERANGE;
}

static int parse_range(const char *arg, u64 nr_sectors, u64 *start, u64 *nr)
{
	char end;

	if (sscanf(arg, "%llu+%llu%c", start, nr, &end) != 2)
		return -EINVAL;
	return check_range(*start, *nr, nr_sectors);
}

/* mark <start>+<length>... */
static int message_mark(struct origin *origin, unsigned int argc, char **argv,
			char *result, unsigned int maxlen)
{
	unsigned int i;
	u64 start, nr;
	int r;

	if (argc < 2)
		return -EINVAL;
	for (i = 1; i < argc; i++) {
		r = parse_range(argv[i], origin->nr_sectors, &start, &nr);
		if (r)
			return r;
	}
	for (i = 1; i < argc; i++) {
		parse_range(argv[i], origin->nr_sectors, &start, &nr);
		tracker_mark(&origin->tracker, start, start + nr);
	}
	return 0;
}

/* restore <generation> <number> */
static int message_restore(struct origin *origin, unsigned int argc, char **argv,
			   char *result, unsigned int maxlen)
{
	uuid_t generation;
	u64 number;

	if (argc != 3 || uuid_parse(argv[1], &generation) || kstrtou64(argv[2], 10, &number))
		return -EINVAL;
	return tracker_begin_load(&origin->tracker, &generation, number);
}

/* load <start>+<length>:<number>... */
static int message_load(struct origin *origin, unsigned int argc, char **argv,
			char *result, unsigned int maxlen)
{
	u64 start, nr, number;
	unsigned int i;
	char end;
	int r;

	if (argc < 2)
		return -EINVAL;
	for (i = 1; i < argc; i++) {
		if (sscanf(argv[i], "%llu+%llu:%llu%c", &start, &nr, &number, &end) != 3)
			return -EINVAL;
		r = check_range(start, nr, origin->nr_sectors) ?:
		    tracker_load(&origin->tracker, start, start + nr, number);
		if (r)
			return r;
	}
	return 0;
}

/* restored */
static int message_restored(struct origin *origin, unsigned int argc, char **argv,
			    char *result, unsigned int maxlen)
{
	return argc == 1 ? tracker_end_load(&origin->tracker) : -EINVAL;
}

/* reset */
static int message_reset(struct origin *origin, unsigned int argc, char **argv,
			 char *result, unsigned int maxlen)
{
	if (argc != 1)
		return -EINVAL;
	if (rcu_access_pointer(origin->member))
		return -EBUSY;
	tracker_renew(&origin->tracker);
	return 0;
}

static const struct {
	const char *word;
	int (*handle)(struct origin *origin, unsigned int argc, char **argv,
		      char *result, unsigned int maxlen);
} messages[] = {
	{ "changes", message_changes },
	{ "numbers", message_numbers },
	{ "newer", message_newer },
	{ "mark", message_mark },
	{ "reset", message_reset },
	{ "restore", message_restore },
	{ "load", message_load },
	{ "restored", message_restored },
};

static int handle_message(struct origin *origin, unsigned int argc, char **argv,
			  char *result, unsigned int maxlen)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(messages); i++)
		if (!strcasecmp(argv[0], messages[i].word))
			return messages[i].handle(origin, argc, argv, result, maxlen);
	DMERR("%s: unknown message '%s'", origin->name, argv[0]);
	return -EINVAL;
}

int origin_message(struct origin *origin, unsigned int argc, char **argv,
		   char *result, unsigned int maxlen)
{
	struct member *member;
	int r;

	mutex_lock(&registry_mutex);
	member = rcu_dereference_protected(origin->member,
					   lockdep_is_held(&registry_mutex));
	if (member)
		mutex_lock(&member->snapshot->lock);
	if (origin->nr_sectors)
		r = handle_message(origin, argc, argv, result, maxlen);
	else
		r = -ENODEV;
	if (member)
		mutex_unlock(&member->snapshot->lock);
	mutex_unlock(&registry_mutex);
	return r;
}
