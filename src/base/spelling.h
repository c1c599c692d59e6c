// What a misspelt word was meant to be, for hints in errors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace naru {

// The known word within a few slips of `word` (one for three letters, at most three; a swap of neighbours is
// one); empty when none is near. Optimal string alignment distance: Damerau 1964, without repeated edits.
std::string_view nearest(std::string_view word, const std::vector<std::string_view>& known);

// `did you mean "image"?`, or nothing.
std::string did_you_mean(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace naru
