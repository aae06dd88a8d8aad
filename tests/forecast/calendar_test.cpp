#include "gradus/forecast/calendar.hpp"

#include "tests/support/catch.hpp"

using namespace gradus::forecast;

TEST_CASE("days, dates and weekdays") {
  CHECK(to_day(1970, 1, 1) == 0);
  CHECK(to_day(2011, 12, 9) == 15317);
  CHECK(to_string(15317) == "2011-12-09");
  CHECK(weekday_of(to_day(2026, 11, 27)) == 4);  // a Friday
  CHECK(weekday_of(-1) == 2);                    // 1969-12-31 was a Wednesday
  CHECK(year_of(to_day(2000, 12, 31)) == 2000);
}

TEST_CASE("dates are read in two forms") {
  Day day = 0;
  CHECK((parse_day("2011-12-09", day) && day == 15317));
  CHECK((parse_day("2011-12-09 08:26:00", day) && day == 15317));
  CHECK((parse_day("12/9/2011 12:50", day) && day == 15317));
  for (const char* wrong :
       {"", "2011", "2011-13-01", "2011-02-30", "12/9", "2011-12-09x", "a-b-c", "99999-1-1", "2011/12/9"})
    CHECK_FALSE(parse_day(wrong, day));
}

TEST_CASE("Easter moves") {
  CHECK(easter(1961) == to_day(1961, 4, 2));
  CHECK(easter(2008) == to_day(2008, 3, 23));
  CHECK(easter(2011) == to_day(2011, 4, 24));
  CHECK(easter(2038) == to_day(2038, 4, 25));
  CHECK(easter(2285) == to_day(2285, 3, 22));
}

TEST_CASE("public holidays") {
  auto britain = [](int y, int m, int d) { return std::string(holiday(to_day(y, m, d), Country::united_kingdom)); };
  CHECK(britain(2011, 4, 22) == "Good Friday");
  CHECK(britain(2011, 4, 25) == "Easter Monday");
  CHECK(britain(2010, 5, 3) == "Early May bank holiday");
  CHECK(britain(2010, 5, 31) == "Spring bank holiday");
  CHECK(britain(2010, 8, 30) == "Summer bank holiday");
  CHECK(britain(2010, 12, 27) == "Christmas Day");  // the 25th was a Saturday
  CHECK(britain(2010, 12, 28) == "Boxing Day");
  CHECK(britain(2011, 1, 3) == "New Year's Day");
  CHECK(britain(2011, 6, 1).empty());
  auto germany = [](int y, int m, int d) { return std::string(holiday(to_day(y, m, d), Country::germany)); };
  CHECK(germany(2024, 5, 9) == "Ascension Day");
  CHECK(germany(2024, 5, 20) == "Whit Monday");
  CHECK(germany(2024, 10, 3) == "German Unity Day");
  auto america = [](int y, int m, int d) { return std::string(holiday(to_day(y, m, d), Country::united_states)); };
  CHECK(america(2023, 11, 23) == "Thanksgiving");
  CHECK(america(2021, 7, 5) == "Independence Day");  // the 4th was a Sunday
  CHECK(america(2021, 12, 31) == "New Year's Day");
  CHECK(america(2023, 5, 29) == "Memorial Day");
  CHECK(america(2023, 5, 28).empty());
}
