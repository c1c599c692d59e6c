// What is pushed: applications that change from commit to commit, and how each change behaves.
#pragma once

#include <map>
#include <string>

#include "base/rng.h"
#include "model/state.h"
#include "sim/faults.h"

namespace naru::sim {

enum class Behaviour { good, errors, crashes_at_start, never_healthy, crashes_later };

struct Commit {
  std::string id;
  ApplicationSpec spec;
  std::map<std::string, std::string> images;  // service -> version of its image
  bool plan_fails = false;
  std::string build_fails;  // the service
  bool good = true;         // ends with everybody, if nothing else goes wrong
};

// Of one application. A good change stays in; a bad one is undone by the next commit.
class Developers {
 public:
  Developers(std::string app, Rng& rng);
  // A new commit, remembered under its id.
  const Commit& commit(Rng& rng, const Faults& faults);
  const Commit* find(const std::string& id) const;
  // How containers of an image behave.
  Behaviour behaviour_of(const Digest& manifest) const;
  ImageInfo image_of(const Commit& commit, const std::string& service) const;
  bool answers_errors(const Release& release) const;

 private:
  void vary(Commit& next, Rng& rng);
  void spoil(Commit& next, Rng& rng);

  std::string app_;
  Commit base_;
  std::map<std::string, Commit> commits_;
  std::map<Digest, Behaviour> behaviours_;  // good ones are left out
};

}  // namespace naru::sim
