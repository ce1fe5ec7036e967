// The end of a process whose group is lost.
#pragma once

#include <string>

namespace sinkstream {

// Writes "sinkstream: <message>\n" to standard error in one piece.
void print_final_message(const std::string& message);

// Ends the process at once with ExitCode::lost_rank: no destructors, which could wait for other ranks. What
// MPI shares in /dev/shm goes too.
[[noreturn]] void end_process();

}  // namespace sinkstream
