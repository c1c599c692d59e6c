// `naru git-hook pre-receive|post-receive`: what git runs inside a repository while it receives a push
// (githooks(5)). It only carries: control decides, over its Unix socket.
#pragma once

#include <string_view>

namespace naru::control {

// Reads "<old> <new> <ref>" lines from standard input; NARU_DATA and NARU_APP say where it is. What it prints
// goes to the person who pushed. pre-receive: 0 accepts; everything else refuses the whole push.
// post-receive: follows the pipeline until its release is made or it failed; the push itself is done by then,
// whatever it returns.
int git_hook(std::string_view which);

}  // namespace naru::control
