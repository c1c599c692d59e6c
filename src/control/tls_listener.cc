#include "control/tls_listener.h"

#include <fcntl.h>

#include "base/log.h"

namespace naru::control {

Result<std::unique_ptr<TlsListener>> TlsListener::adopt(io::Reactor& reactor, int listening, int channel) {
  io::Listener listener = TRY(io::Listener::adopt(reactor, Fd(listening)));
  ipc::Channel told{Fd(channel)};
  Fd again(::fcntl(told.fd(), F_DUPFD_CLOEXEC, 3));
  if (!again) return fail_errno(Code::system, "the supervisor's channel: dup");
  io::Stream waiting = TRY(io::Stream::adopt(reactor, std::move(again)));
  return std::unique_ptr<TlsListener>(
      new TlsListener(reactor, std::move(listener), std::move(waiting), std::move(told)));
}

TlsListener::TlsListener(io::Reactor& reactor, io::Listener listener, io::Stream waiting,
                         ipc::Channel channel)
    : reactor_(reactor),
      listener_(std::move(listener)),
      port_(listener_->address().port()),
      waiting_(std::move(waiting)),
      channel_(std::move(channel)) {}

// What the supervisor said before control was there is known before anybody is answered.
void TlsListener::serve(io::HttpServer& server, std::size_t connections) {
  if (hear(server, connections)) reactor_.spawn(follow(server, connections));
}

io::Task<void> TlsListener::follow(io::HttpServer& server, std::size_t connections) {
  while (true) {
    const auto something = co_await waiting_.wait_readable();
    if (!something || !hear(server, connections)) co_return;
  }
}

bool TlsListener::hear(io::HttpServer& server, std::size_t connections) {
  const auto messages = channel_.read_available();
  if (!messages) {
    // closed: the supervisor ends, and we with it.
    if (messages.error().code != Code::closed)
      refuse("what the supervisor says cannot be read: " + messages.error().message());
    return false;
  }
  for (const ipc::Message& message : *messages) take(message.body);
  if (!listener_ || messages->empty()) return true;
  io::ListenerOptions options{.tls = identity_,
                              .connections = connections / kMostOfConnections,
                              .per_address = kPerAddress,
                              .handshakes = kHandshakes};
  server.add_listener(std::move(*listener_), std::move(options));
  listener_.reset();
  return true;
}

void TlsListener::take(const Json& told) {
  const auto text = [&](const char* name) {
    const auto found = told.find(name);
    return found != told.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  if (told.contains("refused")) return refuse(text("refused"));
  auto context = io::TlsContext::server({text("certificate"), text("key")});
  if (!context) return refuse(context.error().message());
  const std::lock_guard lock(mutex_);
  identity_->context = std::move(*context);
  const io::CertificateInfo& shown = identity_->context->certificate();
  const std::string name = shown.first_name();
  standing_ = Standing{name.empty() ? "" : fmt::format("https://{}:{}", name, port_), shown.names,
                       shown.not_before, shown.not_after, ""};
  log_event(Level::info, "control.certificate",
            {{"names", fmt::format("{}", fmt::join(shown.names, " "))},
             {"not_after", to_rfc3339(shown.not_after)}});
}

void TlsListener::refuse(std::string why) {
  log_event(Level::error, "control.certificate", {{"error", why}});
  const std::lock_guard lock(mutex_);
  if (!standing_) standing_ = Standing{"", {}, {}, {}, ""};
  standing_->refused = std::move(why);
}

// Some live for three months, some for six days.
std::chrono::seconds TlsListener::Standing::renewal() const {
  const auto life = std::chrono::floor<std::chrono::seconds>(not_after - not_before);
  return std::min<std::chrono::seconds>(std::chrono::days(14), life / 3);
}

std::optional<TlsListener::Standing> TlsListener::standing() const {
  const std::lock_guard lock(mutex_);
  return standing_;
}

}  // namespace naru::control
