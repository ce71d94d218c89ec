// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

/// A price feed for tests, as consumers of Chainlink's see one: whoever asks it is told what was set.
contract TestAggregator {
    string public description;
    uint8 public decimals;
    uint256 public constant version = 1;

    uint80 private roundId;
    int256 private answer;
    uint256 private startedAt;
    uint256 private updatedAt;
    uint80 private answeredInRound;
    bool private broken;

    function init(string calldata description_, uint8 decimals_) external {
        description = description_;
        decimals = decimals_;
    }

    /// Answer a new round now.
    function tell(int256 answer_) external {
        roundId += 1;
        answer = answer_;
        startedAt = block.timestamp;
        updatedAt = block.timestamp;
        answeredInRound = roundId;
        broken = false;
    }

    /// Say exactly this.
    function set(uint80 round, int256 answer_, uint256 started, uint256 updated, uint80 answeredIn) external {
        roundId = round;
        answer = answer_;
        startedAt = started;
        updatedAt = updated;
        answeredInRound = answeredIn;
    }

    function setBroken(bool broken_) external {
        broken = broken_;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        require(!broken, "No data present");
        return (roundId, answer, startedAt, updatedAt, answeredInRound);
    }
}
