// What control asks of the supervisor, over the inherited stream socket (channel.h):
//   {"id", "listeners": [ListenerSpec...]}   the whole set; answer {"id", "errors": [{"name", "message"}]}:
//   those that could
//                                            not be opened (the others are open and given to the gateway)
//   {"id", "down": true, "all"?: true}       ends launcher, gateway, control and the supervisor; containers
//   live on. all: they are stopped, and nothing of this Naru stays in the kernel
//
// What the supervisor tells control over a second socket, which goes one way, when there is a TLS listener:
//   {"certificate", "key"}                   PEM, checked: what to show from now on; the first comes at once
//   {"refused": text}                        the files are no good: the pair before stays; at the start there
//                                            may be none
#pragma once

#include <string>
#include <vector>

#include "model/route_table.h"

namespace naru::ipc {

struct ListenerError {
  std::string name, message;
};
NARU_JSON(ListenerError)

}  // namespace naru::ipc
