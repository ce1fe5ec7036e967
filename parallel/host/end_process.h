// The end of a process whose group is lost.
#pragma once

#include <string>

namespace sinkstream {

inline constexpr int kLostGroupExitCode = 5;

// Writes "sinkstream: <message>\n" to standard error in one piece.
void print_last_words(const std::string& message);

// Ends the process at once: no destructors, which could wait for other ranks. What MPI shares in /dev/shm
// goes too.
[[noreturn]] void end_process();

}  // namespace sinkstream
