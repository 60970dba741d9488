/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the three targets share.
 */
#ifndef DIFFSNAP_TARGET_H
#define DIFFSNAP_TARGET_H

#include <linux/device-mapper.h>

extern struct target_type origin_target;
extern struct target_type store_target;
extern struct target_type image_target;

/*
 * The device number of @arg, "major:minor" or a path. Unlike dm_get_device()
 * it does not open the device, so that it works for one that is mounted.
 * Returns 0 or an error. May sleep.
 */
int parse_device(const char *arg, dev_t *dev);

#endif /* DIFFSNAP_TARGET_H */
