// What a browser gets instead of a refusal as JSON when it has no session.
#pragma once

#include "control/api.h"

namespace naru::control {

// A person's browser asks for a page of the console (or follows a login link that is not valid any more).
bool wants_login_page(const io::Request& request);

// 401 with the page that says how to get a login link. Reactor thread.
Answer send_login_page(io::ResponseWriter& response);

}  // namespace naru::control
