/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef SHIM_LINUX_STDDEF_H
#define SHIM_LINUX_STDDEF_H

#include <stddef.h>

#define DECLARE_FLEX_ARRAY(TYPE, NAME)	\
	struct {			\
		struct { } __empty_ ## NAME; \
		TYPE NAME[];		\
	}

#endif
