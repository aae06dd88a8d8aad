// Makes report.html of a run's folder: its curves, confusion matrix, pictures and settings in one file that needs
// nothing else. The other examples leave such folders under runs/.

#include <iostream>

#include "gradus/train/run_report.hpp"

int main(int argc, char** argv) {
  using namespace gradus;
  if (argc != 2 || argv[1][0] == '-') {
    std::cerr << "usage: run_report FOLDER\n\nWrites FOLDER/report.html from summary.json, metrics.jsonl and the PNG "
                 "files in it.\n";
    return 2;
  }
  auto folder = std::string(argv[1]);
  try {
    training::write_report(folder + "/report.html", training::report_of_run(folder));
    std::cout << folder << ": report.html\n";
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "run_report: " << error.what() << '\n';
    return 1;
  }
}
