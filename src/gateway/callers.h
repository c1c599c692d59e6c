// Calls between services: who asks is known by its address, and reaches what shares a network with it.
#pragma once

#include "gateway/http_session.h"

namespace naru::gateway {

// An instance may call before the table names it (control hears of its address when it runs already): waits
// for that, for Bounds::caller at most. False: nobody of this environment, or nothing is known of that.
io::Task<bool> wait_for_caller(Worker& worker, std::shared_ptr<const Origin> origin, std::uint32_t address);

// Whether a call may go to where it wants, for a user of either release; waits as above. True when the
// environment has nothing there: what that means is said elsewhere.
io::Task<bool> admits(Worker& worker, const Arrival& arrival);

// Whether it may, for a user of that side. A user of the edge always may.
bool may_call(const route::Environment& environment, const Arrival& arrival, const route::Service& to,
              route::Side side);

// Counts the call, notes it once for each pair of services, and lets the end of the connection be a reset, as
// of a closed port.
void refuse_call(Worker& worker, const Arrival& arrival, const Destination& to, const io::Stream& client);

}  // namespace naru::gateway
