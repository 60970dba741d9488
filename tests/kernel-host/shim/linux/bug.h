/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_LINUX_BUG_H
#define SHIM_LINUX_BUG_H

#include "../shim.h"

/* Each time, not once: a test that expects a warning must not eat another's. */
#define WARN_ON_ONCE(condition) \
	shim_warn_on(condition, #condition, __FILE__, __LINE__)

#endif
