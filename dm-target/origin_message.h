/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef DIFFSNAP_ORIGIN_MESSAGE_H
#define DIFFSNAP_ORIGIN_MESSAGE_H

struct origin;

/*
 * The messages to an origin, see dm-diffsnap.rst. Sleeps. Returns 1 with an
 * answer in @result, 0 without one, or an error.
 */
int origin_message(struct origin *origin, unsigned int argc, char **argv,
		   char *result, unsigned int maxlen);

#endif /* DIFFSNAP_ORIGIN_MESSAGE_H */
