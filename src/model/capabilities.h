// What a container may do without asking, and all that it can have: names without CAP_ (capabilities(7)). The
// reader of compose files and the container engine hold to the same list, so that what a push lets through
// starts.
#pragma once

#include <string_view>

namespace naru {

// What Docker and containerd give too, without MKNOD: the root user of a container is the host's, and devices
// belong to the machine.
inline constexpr std::string_view kContainerCapabilities[] = {
    "AUDIT_WRITE", "CHOWN",   "DAC_OVERRIDE", "FOWNER",  "FSETID", "KILL",      "NET_BIND_SERVICE",
    "NET_RAW",     "SETFCAP", "SETGID",       "SETPCAP", "SETUID", "SYS_CHROOT"};

}  // namespace naru
