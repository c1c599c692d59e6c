#include "os/sockets.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <ifaddrs.h>

namespace naru::os {
namespace {

bool near(const char* text) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  if (::inet_pton(AF_INET, text, &v4.sin_addr) == 1)
    return leads_to_this_machine(reinterpret_cast<const sockaddr*>(&v4));
  EXPECT_EQ(::inet_pton(AF_INET6, text, &v6.sin6_addr), 1) << text;
  return leads_to_this_machine(reinterpret_cast<const sockaddr*>(&v6));
}

TEST(LeadsToThisMachine, WhateverSpellingItHas) {
  for (const char* text : {"127.0.0.1", "127.8.9.1", "0.0.0.0", "0.1.2.3", "169.254.169.254", "::", "::1",
                           "fe80::1", "::ffff:127.0.0.1", "::ffff:169.254.1.1", "::ffff:0.0.0.0"})
    EXPECT_TRUE(near(text)) << text;
  for (const char* text : {"192.0.2.1", "198.51.100.7", "2001:db8::1", "::ffff:192.0.2.1", "169.253.0.1"})
    EXPECT_FALSE(near(text)) << text;
  sockaddr local{};
  local.sa_family = AF_UNIX;
  EXPECT_TRUE(leads_to_this_machine(&local));
}

TEST(LeadsToThisMachine, AlsoByAnAddressOfAnInterface) {
  ifaddrs* list = nullptr;
  ASSERT_EQ(::getifaddrs(&list), 0);
  int seen = 0;
  for (const ifaddrs* at = list; at != nullptr; at = at->ifa_next)
    if (at->ifa_addr != nullptr &&
        (at->ifa_addr->sa_family == AF_INET || at->ifa_addr->sa_family == AF_INET6)) {
      EXPECT_TRUE(leads_to_this_machine(at->ifa_addr)) << at->ifa_name;
      ++seen;
    }
  ::freeifaddrs(list);
  EXPECT_GT(seen, 0);
}

}  // namespace
}  // namespace naru::os
