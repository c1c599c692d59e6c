#include "sim/mutant.h"

namespace naru::sim {

const std::vector<Mutant>& mutants() {
  static const std::vector<Mutant> all;
  return all;
}

}  // namespace naru::sim
